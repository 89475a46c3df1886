import { describe, expect, test } from '@jest/globals'
import { parsePair } from '../../../src/inputs/images.ts'
import {
  formatReference,
  layoutName,
  parseLayout,
  type Reference,
  splitLayoutName,
} from '../../../src/oci/reference.ts'
import { configOf, problemsOf } from './table.ts'

const HEX = 'a'.repeat(64)
const oci = (path: string, rest: Partial<Reference> = {}): Reference => ({
  layout: { kind: 'oci', path },
  repository: '',
  ...rest,
})

describe('a layout', () => {
  test.each<[string, Reference]>([
    ['oci:out', oci('out')],
    ['oci:/a/b', oci('/a/b')],
    ['oci:../a b', oci('../a b')],
    ['oci:out:1.2', oci('out', { tag: '1.2' })],
    ['oci:out:dev/app:1.2', oci('out', { repository: 'dev/app', tag: '1.2' })],
    ['oci:out:quay.io:443/dev/app:1.2', oci('out', { repository: 'quay.io:443/dev/app', tag: '1.2' })],
    ['oci:C:\\images', oci('C:\\images')],
    ['oci:C:/images:1.2', oci('C:/images', { tag: '1.2' })],
    ['oci:d:\\a:dev/app:1.2', oci('d:\\a', { repository: 'dev/app', tag: '1.2' })],
    ['oci:c:1.2', oci('c', { tag: '1.2' })],
    [`oci:out@sha256:${HEX}`, oci('out', { digest: `sha256:${HEX}` })],
    [`oci:out:1@sha256:${HEX}`, oci('out', { tag: '1', digest: `sha256:${HEX}` })],
    ['oci:user@host', oci('user@host')],
    ['oci-archive:a.tar:v1', { layout: { kind: 'oci-archive', path: 'a.tar' }, repository: '', tag: 'v1' }],
    ['oci-archive:C:\\a.tar', { layout: { kind: 'oci-archive', path: 'C:\\a.tar' }, repository: '' }],
  ])('%s is read, and printed again', (text, reference) => {
    expect(parseLayout(text)).toEqual(reference)
    expect(formatReference(reference)).toBe(text)
  })

  test.each([
    ['oci:', 'no path'],
    ['oci-archive::v1', 'no path'],
    ['oci:out:', 'name after the path is empty'],
    ['oci:out@sha256:abc', '64 hexadecimal digits'],
    ['oci:a\u0000b', 'control character'],
    [`oci:${'x'.repeat(5000)}`, 'too long'],
    [`oci:x:${'y'.repeat(5000)}`, 'too long'],
  ])('%j is not a layout', (text, reason) => {
    expect(() => parseLayout(text)).toThrow(
      expect.objectContaining({ code: 'USAGE', side: 'input', message: expect.stringContaining(reason) }),
    )
  })

  test.each(['1.2', 'dev/app:1.2', 'a:b:c', 'dev/app'])('name %s is split and joined again', (name) => {
    const { repository, tag } = splitLayoutName(name)
    expect(layoutName(repository, tag)).toBe(name)
  })
})

describe('a line with a layout', () => {
  const place = (path: string) => ({ kind: 'oci' as const, path })
  const registry = { host: undefined, repository: 'prod/app', tag: '1.2' }

  test.each<[string, object, object]>([
    ['dev/app:1.2=oci:out', { repository: 'dev/app', tag: '1.2' }, oci('out', { repository: 'dev/app', tag: '1.2' })],
    ['dev/app=oci:out', { repository: 'dev/app', tag: 'latest' }, oci('out', { repository: 'dev/app', tag: 'latest' })],
    ['dev/app:1.2=oci:out:v1', { repository: 'dev/app', tag: '1.2' }, oci('out', { tag: 'v1' })],
    ['dev/app:1.2=oci:out:a/b:v1', { repository: 'dev/app', tag: '1.2' }, oci('out', { repository: 'a/b', tag: 'v1' })],
    ['oci:out:dev/app:1.2', oci('out', { repository: 'dev/app', tag: '1.2' }), { ...registry, repository: 'dev/app' }],
    [
      'oci:out:quay.io/dev/app:1.2',
      oci('out', { repository: 'quay.io/dev/app', tag: '1.2' }),
      { ...registry, repository: 'dev/app' },
    ],
    ['oci:out:1.2=prod/app', oci('out', { tag: '1.2' }), registry],
    ['oci:out:x=quay.io/prod/app:1.2', oci('out', { tag: 'x' }), { ...registry, host: 'quay.io' }],
    [`oci:out@sha256:${HEX}=prod/app:1.2`, oci('out', { digest: `sha256:${HEX}` }), registry],
    [
      'oci:out=prod/app:1.2',
      { layout: { ...place('out'), assumed: true }, repository: 'prod/app', tag: '1.2' },
      registry,
    ],
    [
      'oci:out=prod/app',
      { layout: { ...place('out'), assumed: true }, repository: 'prod/app', tag: 'latest' },
      { ...registry, tag: 'latest' },
    ],
    [
      'oci:a:dev/app:1=oci:b',
      oci('a', { repository: 'dev/app', tag: '1' }),
      oci('b', { repository: 'dev/app', tag: '1' }),
    ],
    ['oci:a=oci:b:x', { layout: { ...place('a'), assumed: true }, repository: '', tag: 'x' }, oci('b', { tag: 'x' })],
  ])('%s has this source and destination', (line, source, destination) => {
    expect(parsePair(line)).toEqual({ source, destination })
  })

  test.each([
    ['oci:out', 'does not say which image'],
    ['oci:a=oci:b', 'does not say which image'],
    ['oci:out:1.2', 'name the destination too'],
    ['oci:out:DEV/app:1.2', 'name the destination too'],
    ['dev/app:1.2=oci:out:dev/app', 'is not a valid tag'],
    ['oci:out:dev/app=prod/app', 'is not a valid tag'],
    [`oci:out@sha256:${HEX}=prod/app`, 'give the destination a tag'],
    [`dev/app@sha256:${HEX}=oci:out`, 'as in SRC@sha256:…=oci:out:TAG'],
    [`dev/app:1=oci:out:1@sha256:${HEX}`, 'never a digest'],
    ['dev/app:1=oci:', 'it has no path'],
  ])('%s is a problem', (line, problem) => {
    expect(() => parsePair(line)).toThrow(problem)
  })
})

describe('a side with layouts only', () => {
  const SOURCE = ['--source-registry', 'a.example.com']
  const DESTINATION = ['--destination-registry', 'b.example.com']

  test('needs no registry', () => {
    expect(configOf({ argv: [...SOURCE, '--', 'dev/app:1=oci:out'] }).images).toHaveLength(1)
    expect(configOf({ argv: [...DESTINATION, '--', 'oci:out:dev/app:1'] }).images).toHaveLength(1)
    expect(configOf({ argv: ['--', 'oci:a:dev/app:1=oci-archive:b.tar'] }).images).toHaveLength(1)
  })

  test('does not replace the registry of other images', () => {
    expect(problemsOf({ argv: [...SOURCE, '--', 'dev/app:1=oci:out', 'dev/app:1=prod/app:1'] }).join()).toContain(
      'prod/app',
    )
    expect(problemsOf({ argv: ['--', 'dev/app:1=oci:out'] }).join()).toContain('dev/app')
  })

  test.each([
    ['two images under one name', ['dev/app:1=oci:out:v1', 'dev/app:2=oci:out:v1'], 'more than one image'],
    ['a layout onto itself', ['oci:out:v1=oci:out:v1'], 'source and destination'],
  ])('%s is a problem', (_what, images, problem) => {
    expect(problemsOf({ argv: [...SOURCE, '--', ...images] }).join()).toContain(problem)
  })

  test('one name in two layouts is not a problem', () => {
    expect(configOf({ argv: [...SOURCE, '--', 'dev/app:1=oci:a:v1', 'dev/app:1=oci:b:v1'] }).images).toHaveLength(2)
  })
})

test.each([
  ['require-signed', 'requireSigned'],
  ['include-foreign', 'includeForeign'],
  ['skip-missing', 'skipMissing'],
] as const)('--%s is off unless it is asked for', (option, key) => {
  const argv = ['--source-registry', 'a.example.com', '--destination-registry', 'b.example.com']
  expect(configOf({ argv: [...argv, '--', 'a/b:1'] })[key]).toBe(false)
  expect(configOf({ argv: [...argv, `--${option}`, '--', 'a/b:1'] })[key]).toBe(true)
})
