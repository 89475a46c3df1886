import { createHash } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { ask, askApi, type Reply } from '../../support/cluster/ask.ts'
import { type EmbeddedCluster, startCluster } from '../../support/cluster/cluster.ts'
import { tokenObjectName } from '../../support/cluster/users.ts'

const VERIFIER = 'v'.repeat(128)
const CHALLENGE = createHash('sha256').update(VERIFIER).digest('base64url')
const TOKEN = 'sha256~[A-Za-z0-9_][A-Za-z0-9_-]{42}'

let cluster: EmbeddedCluster
let page: string
beforeAll(async () => {
  cluster = await startCluster()
  page = `${cluster.oauth.origin}/oauth/token`
})
afterAll(async () => {
  expect(cluster.unexpected).toEqual([])
  await cluster.close()
})

/** A new code of `developer`, asked for with a challenge unless `plain`. */
async function freshCode(plain = false): Promise<string> {
  const query = new URLSearchParams({
    client_id: 'openshift-challenging-client',
    redirect_uri: `${page}/implicit`,
    response_type: 'code',
    ...(!plain && { code_challenge: CHALLENGE, code_challenge_method: 'S256' }),
  })
  const url = new URL(`/oauth/authorize?${query}`, cluster.oauth)
  const { headers } = await ask(cluster.ca.oauth, url, { basic: 'developer:developer-password' })
  return new URL(headers.location?.[0] ?? '').searchParams.get('code') ?? ''
}

/** @param client `id:secret` of the Authorization header, '' = no header */
function redeem(changes: Record<string, string | undefined>, client = 'openshift-challenging-client:'): Promise<Reply> {
  const values = {
    grant_type: 'authorization_code',
    redirect_uri: `${page}/implicit`,
    code_verifier: VERIFIER,
    ...changes,
  }
  const given = Object.entries(values).filter((entry): entry is [string, string] => entry[1] !== undefined)
  const question = { method: 'POST', body: new URLSearchParams(given), ...(client && { basic: client }) }
  return ask(cluster.ca.oauth, page, question)
}

describe('POST /oauth/token answers as the real server', () => {
  const succeeded = { expires_in: 86400, scope: 'user:full', token_type: 'Bearer' }

  test('200 with a token that opens the API, for a valid code and verifier', async () => {
    const reply = await redeem({ code: await freshCode() })
    expect(reply.status).toBe(200)
    expect(reply.headers.expires).toEqual(['0', 'Fri, 01 Jan 1990 00:00:00 GMT'])
    expect(cluster.state.authorizeTokens.size).toBe(0)
    expect(reply.json()).toEqual({ access_token: expect.stringMatching(`^${TOKEN}$`), ...succeeded })
    const { access_token } = reply.json<{ access_token: string }>()
    const me = await ask(cluster.ca.api, new URL('/apis/user.openshift.io/v1/users/~', cluster.api), {
      bearer: access_token,
    })
    expect(me.json()).toMatchObject({ metadata: { name: 'developer' } })
  })

  test('200 with client_id and an empty client_secret in the body in place of the header', async () => {
    const client = { client_id: 'openshift-challenging-client', client_secret: '' }
    expect(await redeem({ code: await freshCode(), ...client }, '')).toMatchObject({ status: 200 })
  })

  test('200 for GET', async () => {
    const code = await freshCode()
    const query = new URLSearchParams({
      grant_type: 'authorization_code',
      code,
      code_verifier: VERIFIER,
      redirect_uri: `${page}/implicit`,
    })
    const reply = await ask(cluster.ca.oauth, `${page}?${query}`, { basic: 'openshift-challenging-client:' })
    expect(reply.json()).toMatchObject(succeeded)
  })

  test('200 without verifier when the code was asked for without challenge', async () => {
    const code = await freshCode(true)
    expect(await redeem({ code, code_verifier: undefined })).toMatchObject({ status: 200 })
  })

  test('expires_in follows the lifetime that the cluster is configured for', async () => {
    cluster.options.oauth.tokenLifetime = 600
    const reply = await redeem({ code: await freshCode() })
    cluster.options.oauth.tokenLifetime = 86_400
    expect(reply.json()).toMatchObject({ expires_in: 600 })
  })

  test('400 invalid_grant for a wrong verifier, and the code stays usable', async () => {
    const code = await freshCode()
    const wrong = await redeem({ code, code_verifier: 'w'.repeat(128) })
    expect(wrong.status).toBe(400)
    expect(wrong.json()).toEqual({
      error: 'invalid_grant',
      error_description: expect.stringMatching(/^The provided authorization grant /),
    })
    expect(await redeem({ code })).toMatchObject({ status: 200 })
  })

  test('a code is an OAuthAuthorizeToken of the API until then, which who knows its name may delete', async () => {
    const code = await freshCode()
    const name = [...cluster.state.authorizeTokens.keys()].at(-1) ?? ''
    expect(name).toBe(tokenObjectName(code))
    const path = `/apis/oauth.openshift.io/v1/oauthauthorizetokens/${name}`
    expect((await askApi(cluster, '', path, { method: 'DELETE' })).status).toBe(403)
    expect((await askApi(cluster, 'nobody', path, { method: 'DELETE' })).status).toBe(200)
    expect((await askApi(cluster, 'nobody', path, { method: 'DELETE' })).json().message).toBe(
      `oauthauthorizetokens.oauth.openshift.io "${name}" not found`,
    )
    expect((await redeem({ code })).json().error).toBe('unauthorized_client')
  })

  test('400 unauthorized_client for a code that was used', async () => {
    const code = await freshCode()
    await redeem({ code })
    const again = await redeem({ code })
    expect([again.status, again.json().error]).toEqual([400, 'unauthorized_client'])
  })

  test('400 invalid_grant for a code older than 300 seconds', async () => {
    const code = await freshCode()
    cluster.advance(299)
    const other = await freshCode()
    cluster.advance(1)
    const late = await redeem({ code })
    expect([late.status, late.json().error]).toEqual([400, 'invalid_grant'])
    expect(await redeem({ code: other })).toMatchObject({ status: 200 })
  })

  test.each<{ when: string; error: string; form?: Record<string, string | undefined>; client?: string }>([
    { when: 'no client authentication', error: 'invalid_request', client: '' },
    { when: 'an unknown client', error: 'unauthorized_client', client: 'somebody:' },
    { when: 'a wrong client secret', error: 'unauthorized_client', client: 'openshift-challenging-client:x' },
    { when: 'grant_type=password', error: 'access_denied', form: { grant_type: 'password', username: 'developer' } },
    { when: 'an unknown grant', error: 'unsupported_grant_type', form: { grant_type: 'device' } },
    { when: 'no code', error: 'invalid_grant', form: { code: undefined } },
    { when: 'an unknown code', error: 'unauthorized_client', form: { code: 'sha256~x' } },
    { when: 'another redirect_uri', error: 'invalid_request', form: { redirect_uri: 'https://evil.example.com' } },
    { when: 'a verifier of bad format', error: 'invalid_request', form: { code_verifier: 'short' } },
  ])('400 $error for $when', async ({ error, form, client }) => {
    const reply = await redeem({ code: await freshCode(), ...form }, client)
    expect([reply.status, reply.json().error]).toEqual([400, error])
  })
})
