import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { Secret } from '../../../src/core/secret.ts'
import { bearerCredential, type Issued, renewableLogin } from '../../../src/credentials/login.ts'
import { type Credential, sameCredential } from '../../../src/http/credential.ts'
import { bearer, openRoom, type Room, shown } from '../../support/credentials.ts'

let room: Room
beforeEach(() => {
  room = openRoom()
})
afterEach(() => room.close())

const LOGIN = { describe: 'a login', renewedBy: 'file' } as const
const token = (value: string): Credential => ({ kind: 'bearer', token: new Secret(value) })

test('a credential stays until its time, then the next one is issued once for all who wait', async () => {
  let count = 0
  const issue = async (): Promise<Issued> => ({ credential: token(`t${++count}`), renewAt: room.clock.now + 60_000 })
  const login = renewableLogin(LOGIN, await issue(), issue, room.context)
  room.clock.now += 59_999
  expect(shown(await login.current())).toEqual(bearer('t1'))
  room.clock.now += 1
  const both = await Promise.all([login.current(), login.current()])
  expect(both.map(shown)).toEqual([bearer('t2'), bearer('t2')])
  expect(count).toBe(2)
})

test('renewals side by side share one; whoever comes late with the old one gets the new one at once', async () => {
  let count = 1
  const issue = async (): Promise<Issued> => ({ credential: token(`t${++count}`) })
  const login = renewableLogin(LOGIN, { credential: token('t1') }, issue, room.context)
  const renewed = await Promise.all([login.renew(token('t1')), login.renew(token('t1'))])
  expect(renewed.map(shown)).toEqual([bearer('t2'), bearer('t2')])
  expect(shown(await login.renew(token('t1')))).toEqual(bearer('t2'))
  expect(count).toBe(2)
})

test('the same credential again, or none, is no renewal', async () => {
  const same = renewableLogin(LOGIN, { credential: token('t') }, async () => ({ credential: token('t') }), room.context)
  expect(await same.renew(token('t'))).toBeUndefined()
  const none = renewableLogin(LOGIN, { credential: token('t') }, async () => undefined, room.context)
  expect(await none.renew(token('t'))).toBeUndefined()
  expect(shown(await none.current())).toEqual(bearer('t'))
})

test('a clock that is off does not make every request ask again', async () => {
  let count = 0
  const issue = async (): Promise<Issued> => ({ credential: token(`t${++count}`), renewAt: 0 })
  const login = renewableLogin(LOGIN, await issue(), issue, room.context)
  for (let request = 0; request < 5; request += 1) await login.current()
  expect(count).toBe(2)
  room.clock.now += 10_000
  await login.current()
  expect(count).toBe(3)
})

test('a renewal that failed is tried again by the next who needs it', async () => {
  const outcomes: Promise<Issued>[] = [
    Promise.reject(new Error('not now')),
    Promise.resolve({ credential: token('t2') }),
  ]
  outcomes[0]?.catch(() => undefined)
  const issue = () => outcomes.shift() ?? Promise.resolve(undefined)
  const login = renewableLogin(LOGIN, { credential: token('t1') }, issue, room.context)
  await expect(login.renew(token('t1'))).rejects.toThrow('not now')
  expect(shown(await login.renew(token('t1')))).toEqual(bearer('t2'))
})

test('credentials are the same when kind and values are', () => {
  const user = (username: string, password: string): Credential => ({
    kind: 'basic',
    username,
    password: new Secret(password),
  })
  const refresh = (value: string): Credential => ({ kind: 'identity', refreshToken: new Secret(value) })
  const all: Credential[] = [
    { kind: 'anonymous' },
    user('a', 'b'),
    user('a', 'c'),
    user('c', 'b'),
    token('b'),
    token('c'),
    refresh('b'),
    refresh('c'),
  ]
  all.forEach((a, i) => {
    all.forEach((b, j) => {
      expect(sameCredential(a, b)).toBe(i === j)
    })
  })
  expect(sameCredential(user('a', 'b'), user('a', 'b'))).toBe(true)
})

test.each([[''], ['a b'], ['a\r\nX: y'], ['tök'], ['a\u0000']])('%j is no token, and masked all the same', (value) => {
  expect(bearerCredential(value, room.context)).toBeUndefined()
})
