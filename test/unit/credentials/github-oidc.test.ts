import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { githubOidcLogin } from '../../../src/credentials/github-oidc.ts'
import { bearer, openRoom, type Room, refusalOf, shown } from '../../support/credentials.ts'

let room: Room
beforeEach(() => {
  room = openRoom()
})
afterEach(() => room.close())

const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
const jwt = (id: number, lifetime: number) =>
  `${part({ alg: 'RS256' })}.${part({ jti: id, exp: room.clock.now / 1000 + lifetime })}.c2ln`

test('the token is fetched when it is needed, masked, and kept until a minute before it expires', async () => {
  const asked: string[] = []
  const fetchToken = async (audience: string) => jwt(asked.push(audience), 300)
  const login = githubOidcLogin('my-cluster', fetchToken, room.context, 'source')
  expect(asked).toEqual([])
  const [first] = await Promise.all([login.current(), login.current()])
  expect(asked).toEqual(['my-cluster'])
  expect(room.masked).toContain(first?.kind === 'bearer' ? first.token.reveal() : '')
  room.clock.now += 239_000
  expect(await login.current()).toBe(first)
  room.clock.now += 1_000
  expect(await login.current()).not.toBe(first)
  expect(asked).toHaveLength(2)
})

test('a refused token is fetched again, once for all who wait', async () => {
  let count = 0
  const login = githubOidcLogin('a', async () => jwt(++count, 300), room.context)
  expect(login.renewedBy).toBe('runner')
  const first = await login.current()
  const renewed = await Promise.all([login.renew(first), login.renew(first)])
  expect(renewed[0]).toBe(renewed[1])
  expect(renewed[0]).not.toBe(first)
  expect(count).toBe(2)
})

test.each(['opaque', 'a.b.c', `x.${'e30'}.y`, `x.${Buffer.from('{"exp":"soon"}').toString('base64url')}.y`])(
  'a token without a time to read (%s) is used as it is',
  async (token) => {
    const login = githubOidcLogin('a', async () => token, room.context)
    expect(shown(await login.current())).toEqual(bearer(token))
  },
)

test.each([
  'Unable to get ACTIONS_ID_TOKEN_REQUEST_URL env variable',
  'Error message: Unable to get ACTIONS_ID_TOKEN_REQUEST_TOKEN env variable',
])('a job without the permission is told which one (%s)', async (message) => {
  const login = githubOidcLogin('a', () => Promise.reject(new Error(message)), room.context, 'destination')
  const error = await refusalOf(() => login.current())
  expect([error.code, error.side]).toEqual(['CREDENTIAL_MISSING', 'destination'])
  expect(error.hint).toContain('id-token: write')
})

test('a failure of GitHub is quoted in one bounded line, and the next try may succeed', async () => {
  const said = `Error message: Failed to get ID Token. \n \n        Error Code : 503\n ${'x'.repeat(5000)}`
  const answers = [() => Promise.reject(new Error(said)), async () => 'good']
  const login = githubOidcLogin('a', () => (answers.shift() ?? (async () => 'more'))(), room.context, 'source')
  const error = await refusalOf(() => login.current())
  expect([error.code, error.side]).toEqual(['UNAVAILABLE', 'source'])
  expect(error.message).toContain('Failed to get ID Token. Error Code : 503')
  expect(error.message.length).toBeLessThan(400)
  expect(shown(await login.current())).toEqual(bearer('good'))
})

test('something that is not a token is refused', async () => {
  const login = githubOidcLogin('a', async () => 'not a token', room.context, 'source')
  expect((await refusalOf(() => login.current())).code).toBe('UNAVAILABLE')
})
