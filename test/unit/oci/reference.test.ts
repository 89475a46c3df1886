import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { PromoteError } from '../../../src/core/errors.ts'
import { formatReference, hostOf, parseReference, type Reference, repositoryOn } from '../../../src/oci/reference.ts'

const SHA256 = `sha256:${'0123456789abcdef'.repeat(4)}` as const
const SHA512 = `sha512:${'0123456789abcdef'.repeat(8)}` as const

const GOOD: readonly (readonly [text: string, reference: Reference])[] = [
  ['dev/app', { repository: 'dev/app' }],
  ['app', { repository: 'app' }],
  ['dev/app:1.2', { repository: 'dev/app', tag: '1.2' }],
  ['dev/app:V1_x.y-z', { repository: 'dev/app', tag: 'V1_x.y-z' }],
  [`dev/app@${SHA256}`, { repository: 'dev/app', digest: SHA256 }],
  [`dev/app:1@${SHA512}`, { repository: 'dev/app', tag: '1', digest: SHA512 }],
  ['quay.io/org/team/app', { host: 'quay.io', repository: 'org/team/app' }],
  ['Registry.Example.COM/dev/app', { host: 'registry.example.com', repository: 'dev/app' }],
  ['localhost/dev/app:1', { host: 'localhost', repository: 'dev/app', tag: '1' }],
  ['127.0.0.1:5000/dev/app', { host: '127.0.0.1:5000', repository: 'dev/app' }],
  ['[::1]:5000/dev/app:1', { host: '[::1]:5000', repository: 'dev/app', tag: '1' }],
  ['registry:5000/app', { host: 'registry:5000', repository: 'app' }],
  ['docker://quay.io/org/app:1', { host: 'quay.io', repository: 'org/app', tag: '1' }],
  ['docker.io/nginx', { host: 'docker.io', repository: 'library/nginx' }],
  ['docker.io/grafana/grafana', { host: 'docker.io', repository: 'grafana/grafana' }],
  ['index.docker.io/nginx:1', { host: 'docker.io', repository: 'library/nginx', tag: '1' }],
  ['registry-1.docker.io/library/nginx', { host: 'docker.io', repository: 'library/nginx' }],
  ['a__b/c---d/e.f/g_h', { repository: 'a__b/c---d/e.f/g_h' }],
  [
    `q.io/${'a'.repeat(255)}:${'t'.repeat(128)}@${SHA512}`,
    { host: 'q.io', repository: 'a'.repeat(255), tag: 't'.repeat(128), digest: SHA512 },
  ],
]

const BAD: readonly (readonly [text: string, reason: RegExp])[] = [
  ['', /it is empty/],
  ['Dev/app', /lower case/],
  ['q.io/dev/App:1', /lower case/],
  ['dev/app:', /tag after ":" is empty/],
  ['dev/app:.1', /tag ".1"/],
  ['dev/app:a/b', /component "app:a"/],
  [`dev/app:${'t'.repeat(129)}`, /129 characters/],
  ['dev/app:1:2', /tag "1:2"/],
  [`dev/app@${SHA256}@${SHA256}`, /more than one "@"/],
  ['dev/app@', /digest after "@" is empty/],
  ['dev/app@sha256:abc', /64 hexadecimal digits, not 3/],
  [`dev/app@${SHA256.toUpperCase()}`, /sha256:/],
  [`dev/app@sha256:${'A'.repeat(64)}`, /lower case/],
  ['dev/app@md5:d41d8cd98f00b204e9800998ecf8427e', /sha256:/],
  ['dev/app@constructor:x', /sha256:/],
  ['dev//app', /empty component/],
  ['dev/app/', /empty component/],
  ['/dev/app', /empty component/],
  ['dev/-app', /component "-app"/],
  ['dev/a..b', /component "a..b"/],
  ['dev/a___b', /component "a___b"/],
  ['q.io/', /repository is empty/],
  ['q..io/dev/app', /"q..io" is not a host/],
  ['q.io:99999/dev/app', /port 99999/],
  ['q.io:0/dev/app', /port 0/],
  ['q.io:/dev/app', /not a host/],
  ['user@q.io/dev/app', /sha256:/],
  ['https://q.io/dev/app', /scheme "https:\/\/"/],
  ['dev/app 1', /white space/],
  ['dev/app\u0000', /control character/],
  [`dev/${'a'.repeat(252)}`, /256 characters/],
  ['a'.repeat(10_000), /more than any reference/],
]

describe('a reference', () => {
  test.each(GOOD)('%s is understood', (text, reference) => {
    expect(parseReference(text)).toEqual(reference)
    expect(parseReference(formatReference(parseReference(text)))).toEqual(reference)
  })

  test.each(BAD)('%j is refused with its reason', (text, reason) => {
    const error = failure(() => parseReference(text))
    expect(error).toMatchObject({ code: 'USAGE', side: 'input' })
    expect(error.message).toMatch(reason)
    expect(error.message.length).toBeLessThan(500)
  })

  test('whatever the text is, the answer is a reference that reads back, or USAGE', () => {
    const likely = fc.stringMatching(/^[a-zA-Z0-9.:/@_[\]-]{0,80}$/)
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'binary', maxLength: 300 }), likely), (text) => {
        const result = attempt(() => parseReference(text))
        if (result instanceof PromoteError) return result.code === 'USAGE'
        const again = parseReference(formatReference(result as Reference))
        expect(again).toEqual(result)
        return true
      }),
    )
  })

  test('64 KiB of anything are refused', () => {
    for (const text of ['a', '-', 'a-', 'a.', 'a/', '@', ':', '[', 'sha256:'].map((part) =>
      part.repeat(65_536 / part.length),
    ))
      expect(failure(() => parseReference(text)).code).toBe('USAGE')
  })
})

describe('Docker Hub', () => {
  test('answers on another host than its name', () => {
    expect(hostOf('docker.io')).toBe('registry-1.docker.io')
    expect(hostOf('index.docker.io')).toBe('registry-1.docker.io')
    expect(hostOf('quay.io')).toBe('quay.io')
    expect(hostOf('docker.io.example.com')).toBe('docker.io.example.com')
  })

  test('keeps names of one component under library', () => {
    expect(repositoryOn('registry-1.docker.io', 'nginx')).toBe('library/nginx')
    expect(repositoryOn('docker.io', 'grafana/grafana')).toBe('grafana/grafana')
    expect(repositoryOn('quay.io', 'nginx')).toBe('nginx')
  })
})

function attempt(run: () => unknown): unknown {
  try {
    return run()
  } catch (thrown) {
    if (thrown instanceof PromoteError) return thrown
    throw thrown
  }
}

function failure(run: () => unknown): PromoteError {
  const result = attempt(run)
  expect(result).toBeInstanceOf(PromoteError)
  return result as PromoteError
}
