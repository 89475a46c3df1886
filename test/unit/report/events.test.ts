import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import { Ajv, type SchemaObject } from 'ajv'
import { makeReport } from '../../../src/report/make-report.ts'
import type { Event } from '../../../src/report/model.ts'
import type { PastPromotion } from '../../../src/trust/history.ts'
import { digest, failed, MIB, planEvent, row } from './rows.ts'

const ROOT = join(import.meta.dirname, '..', '..', '..', '..')
const SCHEMA = JSON.parse(readFileSync(join(ROOT, 'docs', 'events.schema.json'), 'utf8')) as SchemaObject
const PAGE = readFileSync(join(ROOT, 'docs', 'events.md'), 'utf8')

/** Readers have to bear members that are added; here one that is not documented is a mistake. */
function closed(part: unknown): unknown {
  if (Array.isArray(part)) return part.map(closed)
  if (typeof part !== 'object' || part === null) return part
  const inner = Object.fromEntries(Object.entries(part).map(([key, value]) => [key, closed(value)]))
  return inner.type === 'object' ? { ...inner, additionalProperties: false } : inner
}

const ajv = new Ajv({ allowUnionTypes: true, validateFormats: false })
const validate = ajv.compile(closed(SCHEMA) as SchemaObject)

/** One of each kind, with everything that may be in it. */
const attached = {
  digest: digest('c'),
  artifactType: 'application/spdx+json',
  subject: digest('a'),
  tag: 'sha256-a.sig',
}
const rights = {
  state: 'missing',
  missing: ['update imagestreams/layers'],
  grant: 'oc policy add-role-to-user …',
} as const
const RECORD_PAGE = readFileSync(join(ROOT, 'docs', 'promotion-record.md'), 'utf8')
const history: PastPromotion[] = JSON.parse(/```json\n(\[[\s\S]*?)```/.exec(RECORD_PAGE)?.[1] ?? '')
const EVENTS: Readonly<Record<Event['event'], Event>> = {
  login: { event: 'login', side: 'destination', target: 'eu', user: null, registry: 'registry.example' },
  plan: planEvent({ rights }),
  step: { event: 'step', image: 0, do: 'copy', digest: digest('1'), kind: 'blob', size: MIB, why: 'not there' },
  bytes: { event: 'bytes', image: 0, digest: digest('1'), sent: 5, total: MIB },
  retry: { event: 'retry', image: null, what: 'GET /v2/', reason: 'timeout', wait: 12.5, attempt: 1 },
  image: { event: 'image', image: 0, row: row({ attached: [attached], previousDigest: 'unknown', status: 'unknown' }) },
  done: { event: 'done', report: makeReport(0, 1, false, [row(), failed(), row({ status: 'read', history })]) },
}

describe('docs/events.schema.json', () => {
  test.each(Object.entries(EVENTS))('knows the event %s, with every member', (_, event) => {
    validate(JSON.parse(JSON.stringify(event)))
    expect(validate.errors ?? []).toEqual([])
  })

  test('knows the lines of the log', () => {
    expect(validate({ event: 'log', level: 'warn', message: 'hm' })).toBe(true)
  })

  test.each([
    ['an event that is not documented', { event: 'blob' }],
    ['a member that is not documented', { ...EVENTS.bytes, speed: 1 }],
    ['a member that is missing', { event: 'image', image: 0 }],
    ['a status that is not documented', { event: 'image', image: 0, row: { ...row(), status: 'lost' } }],
    ['a digest that is none', { ...EVENTS.step, digest: 'sha256:1' }],
  ])('refuses %s', (_, event) => expect(validate(event)).toBe(false))
})

test('docs/events.md has a row for every event, with its members', () => {
  const members = (name: string) => new RegExp(`^\\| \`${name}\` .*\\|(.*)\\|$`, 'm').exec(PAGE)?.[1] ?? ''
  for (const [name, { event: _, ...rest }] of Object.entries(EVENTS))
    for (const member of Object.keys(rest)) expect(`${name}: ${members(name)}`).toContain(`\`${member}\``)
  expect([...PAGE.matchAll(/^\| `(\w+)`/gm)].map((match) => match[1])).toEqual([...Object.keys(EVENTS), 'log'])
})
