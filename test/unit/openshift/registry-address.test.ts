import { describe, expect, test } from '@jest/globals'
import { type Code, PromoteError } from '../../../src/core/errors.ts'
import { expectError, failureOf, METADATA, type Script, type Scripted } from '../../support/openshift.ts'
import {
  DISCOVERY,
  EMPTY_LIST,
  FORBIDDEN,
  LIST,
  NO_STREAM,
  open,
  PROBE,
  ROUTE,
  SERVICE,
  SHARED,
  STREAM,
  stream,
} from '../../support/scripted-cluster.ts'

describe('the address of the registry', () => {
  const list = (hosts?: Parameters<typeof stream>[0]): Scripted => ({
    status: 200,
    body: { items: [stream(hosts).body] },
  })
  const discovery: Script = { [DISCOVERY]: { status: 200, body: METADATA } }
  const registry = { status: 401, headers: { 'www-authenticate': `Bearer realm="https://${ROUTE}/openshift/token"` } }
  const router = { status: 503, headers: { 'content-type': 'text/html' }, body: '<html>Application is not available' }

  type Row = [string, Script, string, number]
  test.each<Row>([
    ['of the stream itself', { [STREAM]: stream() }, ROUTE, 1],
    ['of another stream of the project', { [STREAM]: NO_STREAM, [LIST]: list() }, ROUTE, 2],
    ['of a stream in openshift, for pushers', { [STREAM]: FORBIDDEN, [LIST]: FORBIDDEN, [SHARED]: list() }, ROUTE, 3],
    [
      'of a stream in openshift, for empty projects',
      { [STREAM]: NO_STREAM, [LIST]: EMPTY_LIST, [SHARED]: list() },
      ROUTE,
      3,
    ],
    [
      'guessed from the issuer, once a registry answers there',
      { ...discovery, [STREAM]: FORBIDDEN, [LIST]: FORBIDDEN, [SHARED]: EMPTY_LIST, [PROBE]: registry },
      ROUTE,
      5,
    ],
  ])('%s', async (_, script, host, requests) => {
    const { network, cluster } = await open(script)
    expect(await cluster.registryFor('dev/app')).toEqual({ host, plainHttp: false })
    expect(network.seen).toHaveLength(requests)
    expect(await cluster.registryFor('dev/other')).toEqual({ host, plainHttp: false })
    expect(network.seen).toHaveLength(requests)
    expect(await cluster.ownsRegistry(host, 'dev/app')).toBe(true)
    expect(network.seen).toHaveLength(requests)
    const probe = network.seen.find(({ url }) => url.pathname === '/v2/')
    expect(probe?.headers.authorization).toBeUndefined()
  })

  test.each<[string, Script, Code]>([
    [
      'the router knows no such route',
      { ...discovery, [STREAM]: FORBIDDEN, [LIST]: FORBIDDEN, [SHARED]: EMPTY_LIST, [PROBE]: router },
      'NOT_EXPOSED',
    ],
    [
      'the stream names no route: the usual name is then anybody’s',
      { [STREAM]: stream({ internal: SERVICE }) },
      'NOT_EXPOSED',
    ],
    ['the registry was removed', { [DISCOVERY]: { status: 404 }, [STREAM]: stream({}) }, 'NOT_EXPOSED'],
    [
      'nothing may be read and there is no OAuth server',
      { [DISCOVERY]: { status: 404 }, [STREAM]: FORBIDDEN, [LIST]: FORBIDDEN, [SHARED]: FORBIDDEN },
      'REGISTRY_UNKNOWN',
    ],
    [
      'the OAuth server has a host name of its own',
      {
        [DISCOVERY]: { status: 200, body: { ...METADATA, issuer: 'https://login.example.com' } },
        [STREAM]: FORBIDDEN,
        [LIST]: FORBIDDEN,
        [SHARED]: EMPTY_LIST,
      },
      'REGISTRY_UNKNOWN',
    ],
    [
      'something else answers at the guess',
      {
        ...discovery,
        [STREAM]: FORBIDDEN,
        [LIST]: FORBIDDEN,
        [SHARED]: EMPTY_LIST,
        [PROBE]: { status: 200, body: 'hello' },
      },
      'REGISTRY_UNKNOWN',
    ],
    [
      'nothing answers at the guess',
      {
        ...discovery,
        [STREAM]: FORBIDDEN,
        [LIST]: FORBIDDEN,
        [SHARED]: EMPTY_LIST,
        [PROBE]: () => new PromoteError('NETWORK', 'ENOTFOUND'),
      },
      'REGISTRY_UNKNOWN',
    ],
    [
      'the certificate at the guess is unknown',
      {
        ...discovery,
        [STREAM]: FORBIDDEN,
        [LIST]: FORBIDDEN,
        [SHARED]: EMPTY_LIST,
        [PROBE]: () => new PromoteError('TLS', 'unknown CA'),
      },
      'TLS',
    ],
  ])('is not found when %s', async (_, script, code) => {
    const { network, cluster } = await open(script)
    const error = await failureOf(cluster.registryFor('dev/app'))
    expectError(error, code, 'destination')
    if (code !== 'TLS')
      expect(error.hint).toContain(
        `oc patch configs.imageregistry.operator.openshift.io/cluster --type merge -p '{"spec":{"defaultRoute":true}}'`,
      )
    for (const { url, req } of network.seen) if (url.pathname === '/v2/') expect(req.retry).toBe(false)
  })

  test.each<[string, Script]>([
    ['the stream names it and no route', { [STREAM]: stream({ internal: SERVICE }) }],
    [
      'nothing may be read',
      { ...discovery, [STREAM]: FORBIDDEN, [LIST]: FORBIDDEN, [SHARED]: FORBIDDEN, [PROBE]: router },
    ],
  ])('is the service inside the cluster when %s', async (_, script) => {
    const { cluster } = await open(script, { inCluster: true })
    expect(await cluster.registryFor('dev/app')).toEqual({ host: SERVICE, plainHttp: false })
  })

  test('is taken from a host and nothing else', async () => {
    const { cluster } = await open({
      [STREAM]: stream({ public: 'evil.example.com@x', internal: SERVICE }),
      [DISCOVERY]: { status: 404 },
    })
    expectError(await failureOf(cluster.registryFor('dev/app')), 'NOT_EXPOSED', 'destination')
  })

  const other = 'other.apps.ocp.example.com'
  const challenge = (realm: string): Scripted => ({
    status: 401,
    headers: { 'www-authenticate': `Bearer realm="${realm}"` },
  })
  const known = { ...discovery, [STREAM]: stream() }
  test.each<[string, Script, string, boolean]>([
    ['the route that the stream names', known, ROUTE, true],
    ['the same in capitals', known, ROUTE.toUpperCase(), true],
    ['the same with its port', known, `${ROUTE}:443`, true],
    ['the same on another port', known, `${ROUTE}:444`, false],
    ['the service, from outside', {}, SERVICE, false],
    [
      'the usual route, which the stream does not name',
      { ...discovery, [STREAM]: stream({ internal: SERVICE }) },
      ROUTE,
      false,
    ],
    [
      'the usual route, where no stream may be read',
      { ...discovery, [STREAM]: FORBIDDEN, [LIST]: FORBIDDEN, [SHARED]: EMPTY_LIST },
      ROUTE,
      true,
    ],
    [
      'the usual route of another domain, where no stream may be read',
      { ...discovery, [STREAM]: FORBIDDEN, [LIST]: FORBIDDEN, [SHARED]: EMPTY_LIST },
      `${ROUTE}.evil.example.com`,
      false,
    ],
    ['another registry', known, 'quay.io', false],
    ['a host that only begins like the route', known, `${ROUTE}.evil.example.com`, false],
    ['a host that only ends like the domain', known, 'evilapps.ocp.example.com', false],
    [
      'a route by hand, which anybody with a project could make',
      { ...known, [`GET https://${other}/v2/`]: challenge(`https://${other}/openshift/token`) },
      other,
      false,
    ],
    [
      'a route that names another’s token service',
      { ...known, [`GET https://${other}/v2/`]: challenge(`https://${ROUTE}/openshift/token`) },
      other,
      false,
    ],
    [
      'Quay in the cluster',
      { ...known, [`GET https://${other}/v2/`]: challenge(`https://${other}/v2/auth`) },
      other,
      false,
    ],
    [
      'a host that does not answer',
      { ...known, [`GET https://${other}/v2/`]: () => new PromoteError('NETWORK', 'x') },
      other,
      false,
    ],
    ['a cluster without an OAuth server', { [STREAM]: stream(), [DISCOVERY]: { status: 404 } }, other, false],
  ])('is told from a foreign one: %s', async (_, script, host, owned) => {
    const { network, cluster } = await open(script)
    expect(await cluster.ownsRegistry(host, 'dev/app')).toBe(owned)
    for (const { url, headers } of network.seen)
      if (url.pathname === '/v2/') expect(headers.authorization).toBeUndefined()
  })

  test('is not guessed where a registry of another kind answers', async () => {
    const quay = { status: 401, headers: { 'www-authenticate': 'Bearer realm="https://quay/v2/auth"' } }
    const { cluster } = await open({
      ...discovery,
      [STREAM]: FORBIDDEN,
      [LIST]: FORBIDDEN,
      [SHARED]: EMPTY_LIST,
      [PROBE]: quay,
    })
    expectError(await failureOf(cluster.registryFor('dev/app')), 'REGISTRY_UNKNOWN', 'destination')
  })
})
