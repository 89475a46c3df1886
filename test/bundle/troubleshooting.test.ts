import { afterAll, describe, expect, test } from '@jest/globals'
import { CONDITIONS } from './troubleshooting/conditions.ts'
import { KUBECONFIG, OTHER_WAYS, TOKENS } from './troubleshooting/login.ts'
import { NETWORK, SERVERS, TLS } from './troubleshooting/network.ts'
import { entries, matches } from './troubleshooting/page.ts'
import { PASSWORD } from './troubleshooting/password.ts'
import { CONTENT, FINDING, REFUSALS, RIGHTS, WARNINGS } from './troubleshooting/registry.ts'
import { CLUSTERS, play, type Situation } from './troubleshooting/stage.ts'

/** docs/troubleshooting.md and the messages cannot drift apart: each entry has a situation, each situation an entry. */

const SITUATIONS: Readonly<Record<string, readonly Situation[]>> = {
  'a login by password': PASSWORD,
  'a login by token': TOKENS,
  'a login by kubeconfig': KUBECONFIG,
  'another way in': OTHER_WAYS,
  'finding the registry': FINDING,
  rights: RIGHTS,
  'what is in the registry': CONTENT,
  'what a registry refuses': REFUSALS,
  'conditions of the user': CONDITIONS,
  TLS,
  'the network': NETWORK,
  servers: SERVERS,
  warnings: WARNINGS,
}

afterAll(CLUSTERS.close)

const name = ({ code, says }: Readonly<{ code: string; says: string }>) => `${code}: ${says}`

test('the page has every message of the situations below, and no other', () => {
  const told = entries().map(({ section, says }) => name({ code: section, says }))
  const played = new Set(Object.values(SITUATIONS).flat().map(name))
  expect([...told].sort()).toEqual([...played].sort())
})

describe.each(Object.entries(SITUATIONS))('%s:', (_, situations) => {
  test.each(situations.map((situation) => [situation.when, situation.code, situation] as const))(
    '%s (%s)',
    async (_when, code, situation) => {
      const { side = 'source', blames = side, says } = situation
      const { error, warnings, unexpected } = await play(situation)
      if (code === 'warning') {
        expect(error).toBeUndefined()
        expect(warnings.filter((line) => matches(says, line))).toHaveLength(1)
        expect(warnings[0]).toMatch(side === 'source' ? /./ : /\/prod\/app: /)
      } else {
        // The message is part of both, so that the output of a failure explains it.
        const { message = '' } = error ?? {}
        expect({ code: error?.code, side: error?.side, message }).toEqual({ code, side: blames, message })
        expect({ message, says, matches: matches(says, message) }).toEqual({ message, says, matches: true })
      }
      expect(unexpected).toEqual([])
    },
  )
})

describe('a pattern of the page', () => {
  test.each([
    ['a … c', 'a b c', true],
    ['a … c', 'a b d', false],
    ['…: 401.', 'x: 401.', true],
    ['…: 401.', 'x: 401. And more', false],
    ['a (b).', 'a (b)x', false],
    ['a…', 'a', true],
  ])('%s and "%s": %s', (says, message, expected) => {
    expect(matches(says, message)).toBe(expected)
  })
})
