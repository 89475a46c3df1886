import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { byPassword, byToken } from '../sides.ts'
import { startProxy } from './proxy.ts'
import { onThatOccasion, type Situation, type Stage } from './stage.ts'

/** TLS, proxies, connections, and servers that do not feel well. */

const ca = (pick: (cluster: Stage['cluster']) => string) => (stage: Stage) => ({
  ...byPassword(stage.cluster),
  ca: pick(stage.cluster),
})
const named = { hostnames: { api: 'api.ocp.example.com' } }
const manifests = /\/manifests\//

export const TLS: readonly Situation[] = [
  {
    when: 'the authority of the API is unknown',
    code: 'TLS',
    says: '…: the certificate of … is not trusted; the server showed subject "…", issuer "…" (SELF_SIGNED_CERT_IN_CHAIN).',
    way: ca(({ ca }) => ca.oauth),
  },
  {
    when: 'the authority of the OAuth server is unknown',
    code: 'TLS',
    says: '…: the certificate of … is not trusted; the server showed subject "…", issuer "…" (SELF_SIGNED_CERT_IN_CHAIN).',
    way: ca(({ ca }) => ca.api),
  },
  {
    when: 'the certificate of the API comes without its issuer',
    code: 'TLS',
    says: '…: the certificate of … is not trusted; the server showed subject "…", issuer "…" (UNABLE_TO_GET_ISSUER_CERT_LOCALLY).',
    cluster: { certificates: { api: 'leaf-only' } },
    way: ca(({ ca }) => ca.oauth),
  },
  {
    when: 'the service CA is given for the API',
    code: 'TLS',
    says: '…: the certificate of … is not trusted; the server showed subject "…", issuer "…" (SELF_SIGNED_CERT_IN_CHAIN).',
    way: ca(({ ca }) => ca.registry),
  },
  {
    when: 'the service CA signed what the registry shows',
    code: 'TLS',
    says: '…: the certificate of … is not trusted; the server showed subject "…", issuer "CN=openshift-service-serving-signer@…" (SELF_SIGNED_CERT_IN_CHAIN).',
    way: ca(({ ca }) => ca.api + ca.oauth),
  },
  {
    when: 'the certificate is for another name',
    code: 'TLS',
    says: '…: the certificate is not for …, it is for …; the server showed subject "…", issuer "…" (ERR_TLS_CERT_ALTNAME_INVALID).',
    cluster: { certificates: { oauth: 'wrong-name' } },
  },
  {
    when: 'the certificate has expired',
    code: 'TLS',
    says: '…: a certificate of … has expired, valid from … to …; the server showed subject "…", issuer "…" (CERT_HAS_EXPIRED).',
    cluster: { certificates: { registry: 'expired' } },
  },
  {
    when: 'the port speaks plain HTTP',
    code: 'TLS',
    says: '…: the TLS handshake failed (…WRONG_VERSION_NUMBER…).',
    way: async ({ cluster, also }) => {
      const server = also(createServer().listen(0, '127.0.0.1'))
      await once(server, 'listening')
      return { ...byPassword(cluster), cluster: `https://127.0.0.1:${(server.address() as AddressInfo).port}` }
    },
  },
  {
    when: 'the CA is not a certificate',
    code: 'USAGE',
    blames: 'input',
    says: '… holds no PEM certificate (-----BEGIN CERTIFICATE-----)',
    way: ({ cluster, folder }) => ({ ...byPassword(cluster), ca: folder.file('ca.crt', 'nothing') }),
  },
]

export const NETWORK: readonly Situation[] = [
  {
    when: 'the port is closed',
    code: 'NETWORK',
    says: '…: the connection was refused (ECONNREFUSED).',
    way: async ({ cluster }) => ({ ...byPassword(cluster), cluster: 'https://127.0.0.1:1' }),
  },
  {
    when: 'the name does not exist',
    code: 'NETWORK',
    says: '…: the name … is unknown (ENOTFOUND).',
    way: ({ cluster }) => ({ ...byPassword(cluster), cluster: 'https://api.ocp.invalid:6443' }),
  },
  {
    when: 'the proxy wants a password',
    code: 'NETWORK',
    says: '… through the proxy …: 407 "Proxy Authentication Required".',
    cluster: named,
    run: async ({ also }) => {
      const proxy = also(await startProxy('user:password'))
      return { env: { HTTPS_PROXY: proxy.url.replace('user:password@', '') } }
    },
  },
  {
    when: 'the proxy is not there',
    code: 'NETWORK',
    says: '… through the proxy …: connect ECONNREFUSED ….',
    cluster: named,
    run: () => ({ env: { HTTPS_PROXY: 'http://127.0.0.1:1' } }),
  },
  {
    when: 'the proxy does not speak HTTP',
    code: 'USAGE',
    blames: 'input',
    says: 'HTTPS_PROXY is not the URL of an HTTP proxy.',
    cluster: named,
    run: () => ({ env: { HTTPS_PROXY: 'socks5://127.0.0.1:1' } }),
  },
  {
    when: 'the connection is cut again and again',
    code: 'NETWORK',
    says: '…: the other side closed the connection (UND_ERR_SOCKET).',
    arrange: ({ cluster }) =>
      cluster.faults.registry.add({ match: { path: manifests }, do: { kind: 'cut-response', after: 0 } }),
  },
  {
    when: 'the registry does not answer',
    code: 'STALLED',
    says: '…: no answer for … s.',
    arrange: ({ cluster }) =>
      cluster.faults.registry.add({ match: { path: manifests }, do: { kind: 'stall-response' } }),
    more: () => ({ retries: '0' }),
    run: () => ({ config: (config) => ({ ...config, stallTimeout: 400 }) }),
  },
  {
    when: 'the run is cancelled',
    code: 'CANCELLED',
    says: 'Cancelled.',
    run: ({ cluster }) => {
      const stop = new AbortController()
      const when = onThatOccasion(() => stop.abort('SIGINT'))
      cluster.faults.registry.add({ match: { path: manifests, when }, do: { kind: 'latency', ms: 0 } })
      return { signal: stop.signal }
    },
  },
]

export const SERVERS: readonly Situation[] = [
  {
    when: 'the registry answers 429 to the end',
    code: 'RATE_LIMITED',
    says: '…: 429 "Too many requests, please try again later.".',
    arrange: ({ cluster }) =>
      cluster.faults.registry.add({
        match: { path: manifests },
        do: {
          kind: 'status',
          status: 429,
          headers: { 'Content-Type': 'text/plain', 'Retry-After': '1' },
          body: 'Too many requests, please try again later.\n',
        },
      }),
  },
  {
    when: 'the registry asks for a long pause',
    code: 'RATE_LIMITED',
    says: '…: 429: the server asks to wait … s, longer than 60 s.',
    arrange: ({ cluster }) =>
      cluster.faults.registry.add({
        match: { path: manifests },
        do: { kind: 'status', status: 429, headers: { 'Retry-After': '3600' }, body: '' },
      }),
  },
  {
    when: 'the registry is broken',
    code: 'UNAVAILABLE',
    says: '…: 500 UNKNOWN "unknown error".',
    arrange: ({ cluster }) =>
      cluster.faults.registry.add({
        match: { path: manifests },
        do: {
          kind: 'status',
          status: 500,
          body: '{"errors":[{"code":"UNKNOWN","message":"unknown error","detail":{}}]}',
        },
      }),
    way: ({ cluster }) => byToken(cluster, cluster.token('puller')),
  },
  {
    when: 'the registry restarts',
    code: 'UNAVAILABLE',
    says: '…: 503 with an HTML page: "Application is not available".',
    arrange: ({ cluster }) => {
      const when = onThatOccasion(() => Object.assign(cluster.options.registry, { exposed: false }))
      cluster.faults.registry.add({ match: { path: /\/blobs\//, when }, do: { kind: 'latency', ms: 0 } })
    },
  },
  {
    when: 'the registry cannot reach its API',
    code: 'UNAVAILABLE',
    says: '…: 400 without an explanation.',
    arrange: ({ cluster }) => {
      cluster.options.registry.apiDown = true
    },
  },
  {
    when: 'a proxy answers for the registry',
    code: 'PROTOCOL',
    says: '…: reading manifest …: The answer is not a manifest.',
    way: ({ cluster }) => byToken(cluster, cluster.token('puller')),
    arrange: ({ cluster }) =>
      cluster.faults.registry.add({
        match: { path: manifests },
        do: {
          kind: 'status',
          status: 200,
          headers: { 'Content-Type': 'text/html' },
          body: '<html><title>Log in</title></html>',
        },
      }),
  },
  {
    when: 'a proxy changes manifests',
    code: 'DIGEST_MISMATCH',
    says: '…: reading manifest …: The registry was asked for the manifest sha256:… and sent sha256:….',
    arrange: ({ cluster }) =>
      cluster.faults.registry.add({ match: { path: manifests }, do: { kind: 'corrupt', at: 9 } }),
  },
]
