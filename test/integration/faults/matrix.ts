import type { Code } from '../../../src/core/errors.ts'
import type { Digest } from '../../../src/oci/digest.ts'
import type { Gate, TokenService } from '../../support/cluster/access.ts'
import type { Rule } from '../../support/cluster/faults.ts'
import type { Incoming } from '../../support/cluster/http.ts'
import type { BuiltImage } from '../../support/cluster/image.ts'
import type { PlainOptions } from '../../support/cluster/plain.ts'
import type { Storage } from '../../support/cluster/storage.ts'
import type { Spoil } from './front.ts'
import type { Place } from './stage.ts'

/** The faults, one a row. Every row runs on the embedded registry, and where it says nothing else behind the fault proxy. */
export interface Row {
  /** F… as in the comparison of the other tools; letters for what was not compared. */
  readonly id: string
  readonly fault: string
  /** What only the embedded registry can be made to do. */
  readonly embedded?: Readonly<{
    source?: PlainOptions
    destination?: PlainOptions
    /** Before HTTP: in front of this side. */
    front?: Readonly<{ side: 'source' | 'destination'; spoil: Spoil; tls: boolean }>
  }>
  /** Either side wants tokens of its token service. */
  readonly tokens?: boolean
  readonly rules: (scene: Scene) => Readonly<{ source?: readonly Rule[]; destination?: readonly Rule[] }>
  /** How it ends when not well: with this code, and the tag where it was. */
  readonly ends?: Code
  /** What may be sent to the destination a second time; without it less than 2 MiB, or half a unit. */
  readonly sentAgain?: 'layer' | 'layer, without resumption' | 'any'
  /**
   * What may be read from the source a second time; without it as little. When an upload breaks, that is what was on
   * its way: the buffers of two hosts, which grow to some MiB on loopback.
   */
  readonly readAgain?: 'layer' | 'any'
  /** Noticed by the stall timeout. */
  readonly stalls?: boolean
  /** Requests to the source, exactly. */
  readonly sourceRequests?: number
}

/** What the rules are made for. */
export interface Scene {
  readonly image: BuiltImage
  readonly layer: Digest
  /** A quarter of the large layer, in bytes. */
  readonly unit: number
  readonly gates: Readonly<{ source: Gate; destination: Gate }>
  /** Of the embedded registry. */
  readonly stored: Storage | undefined
  readonly places: Readonly<{ source: Place; destination: Place }>
}

export const TOKENS: TokenService = { user: 'ci', password: 'ci-password' }

const MIB = 1024 * 1024
/** Where every row's image goes. */
export const TO = 'prod/app'
export const TAG = 'v1'

const UPLOADS = /\/blobs\/uploads\//
const BEGIN = /\/blobs\/uploads\/\?/
const MANIFEST = /\/manifests\//
const HTML = { 'Content-Type': 'text/html' }
const UNAVAILABLE = '<html><head><title>Application is not available</title></head></html>'
/** Between 1 MiB, the smallest minimum of the known registries, and the next larger chunk. */
const BODY_LIMIT = 1.25 * MIB
const JSON_TYPE = { 'Content-Type': 'application/json' }

const readsLayer = ({ layer }: Scene, more: Rule['match'] = {}) => ({
  match: { method: 'GET', path: new RegExp(layer), ...more },
})
/** PUT of the layer's session, or what continues it. */
const sends = (more: Rule['match'] = {}) => ({ match: { method: ['PUT', 'PATCH'], path: UPLOADS, ...more } })
const commitOf = ({ layer }: Scene) => new RegExp(`uploads/.*${layer}`)
const commits = (s: Scene, nth: number) => ({ match: { method: 'PUT', path: commitOf(s), nth } })
const putsManifest = { match: { method: 'PUT', path: MANIFEST, nth: 1 } }
const readsManifest = { match: { method: 'GET', path: MANIFEST, nth: 1 } }
const status = (code: number, headers: Record<string, string> = {}, body = '') =>
  ({ do: { kind: 'status', status: code, headers, body } }) as const
const cutUpload = (after: number): Rule => ({ ...sends({ nth: 1 }), do: { kind: 'cut-request', after } })
/** Lets the token service forget every token at the n-th request of a kind. */
const forgets = (gate: Gate, match: Rule['match'], nth = 1): Rule => happens({ ...match }, nth, () => gate.revokeAll())
/** Something happens at the n-th request of a kind; the request itself is served as it is. */
function happens(match: Rule['match'], nth: number, what: (request: Incoming) => void): Rule {
  let seen = 0
  const when = (request: Incoming) => {
    seen += 1
    if (seen === nth) what(request)
    return seen === nth
  }
  return { match: { ...match, when }, do: { kind: 'latency', ms: 0 } }
}
/** As nginx does it: what still comes is read and thrown away (lingering_close), so that the answer is heard. */
const tooLarge = (limit: number): Rule => ({
  match: { method: ['PUT', 'PATCH'], path: UPLOADS, when: ({ headers }) => Number(headers['content-length']) > limit },
  ...status(413, HTML, '<html><head><title>413 Request Entity Too Large</title></head></html>'),
})
/** Registries that know no mount from the repository itself, so that HEAD has to ask. */
const probeless: Rule = { match: { method: 'POST', path: /[?&]mount=/ }, ...status(405) }
const inSeconds = (seconds: number) => ({ 'Retry-After': new Date(Date.now() + seconds * 1000).toUTCString() })
const unknownBlob = (digest: string) =>
  JSON.stringify({ errors: [{ code: 'MANIFEST_BLOB_UNKNOWN', message: 'blob unknown to registry', detail: digest }] })

const PEERS: readonly Row[] = [
  {
    id: 'F1',
    fault: 'source cut once',
    rules: (s) => ({ source: [{ ...readsLayer(s, { nth: 1 }), do: { kind: 'cut-response', after: s.unit } }] }),
  },
  {
    id: 'F1b',
    fault: 'source cut at every quarter',
    rules: (s) => ({ source: [{ ...readsLayer(s), do: { kind: 'cut-response', after: s.unit } }] }),
  },
  {
    id: 'F2',
    fault: 'upload cut once',
    sentAgain: 'layer, without resumption',
    readAgain: 'layer',
    rules: ({ unit }) => ({ destination: [cutUpload(unit)] }),
  },
  {
    id: 'F3',
    fault: 'POST of an upload: 503',
    rules: () => ({ destination: [{ match: { method: 'POST', path: BEGIN, nth: 1 }, ...status(503) }] }),
  },
  {
    id: 'F4',
    fault: 'source manifest: 429, Retry-After 3',
    rules: () => ({ source: [{ match: { path: MANIFEST, nth: 1 }, ...status(429, { 'Retry-After': '3' }) }] }),
  },
  {
    id: 'F4b',
    fault: 'POST of an upload: 429, Retry-After 3',
    rules: () => ({
      destination: [{ match: { method: 'POST', path: BEGIN, nth: 1 }, ...status(429, { 'Retry-After': '3' }) }],
    }),
  },
  {
    id: 'F4c',
    fault: 'source blob: 429, Retry-After as a date',
    rules: (s) => ({ source: [{ ...readsLayer(s, { nth: 1 }), ...status(429, inSeconds(2)) }] }),
  },
  {
    id: 'F5',
    fault: 'PUT of the manifest: 500',
    rules: () => ({ destination: [{ ...putsManifest, ...status(500) }] }),
  },
  {
    id: 'F6',
    fault: 'token invalid at the commit',
    sentAgain: 'layer, without resumption',
    readAgain: 'any',
    tokens: true,
    rules: (s) => ({
      destination: [cutUpload(s.unit), forgets(s.gates.destination, { method: 'PUT', path: commitOf(s) }, 2)],
    }),
  },
  {
    id: 'F6b',
    fault: 'token invalid at the PUT of the manifest',
    tokens: true,
    rules: (s) => ({ destination: [forgets(s.gates.destination, { method: 'PUT', path: MANIFEST })] }),
  },
  {
    id: 'F6c',
    fault: 'token invalid with the body of a PATCH half sent',
    readAgain: 'any',
    tokens: true,
    embedded: {},
    rules: (s) => ({
      destination: [cutUpload(s.unit), forgets(s.gates.destination, { method: 'PATCH', path: UPLOADS })],
    }),
  },
  {
    id: 'F6d',
    fault: 'token invalid with the body of a PUT half sent',
    readAgain: 'layer',
    tokens: true,
    rules: (s) => ({ destination: [forgets(s.gates.destination, { method: 'PUT', path: commitOf(s) })] }),
  },
  {
    id: 'F6e',
    fault: 'source token invalid between two pieces of a blob',
    tokens: true,
    rules: (s) => ({
      source: [
        { ...readsLayer(s, { nth: 1 }), do: { kind: 'cut-response', after: s.unit } },
        forgets(s.gates.source, { path: new RegExp(s.layer) }, 2),
      ],
    }),
  },
  {
    id: 'F7',
    fault: 'source corrupt once',
    sentAgain: 'layer',
    readAgain: 'layer',
    rules: (s) => ({ source: [{ ...readsLayer(s, { nth: 1 }), do: { kind: 'corrupt', at: s.unit } }] }),
  },
  {
    id: 'F8',
    fault: 'upload with its body: 503',
    readAgain: 'layer',
    rules: (s) => ({ destination: [{ ...commits(s, 1), ...status(503) }] }),
  },
  {
    id: 'F8b',
    fault: 'commit of a continued upload: 500',
    sentAgain: 'layer, without resumption',
    readAgain: 'any',
    rules: (s) => ({ destination: [cutUpload(s.unit), { ...commits(s, 2), ...status(500) }] }),
  },
  {
    id: 'F9',
    fault: 'HEAD of every blob: 403, mount: 405',
    rules: () => ({ destination: [probeless, { match: { method: 'HEAD', path: /\/blobs\// }, ...status(403) }] }),
  },
  {
    id: 'F9b',
    fault: 'HEAD of every manifest: 403',
    rules: () => ({
      destination: [{ match: { method: 'HEAD', path: MANIFEST }, ...status(403) }],
    }),
  },
  {
    id: 'F10',
    fault: 'HEAD of every blob: 500, mount: 405',
    rules: () => ({ destination: [probeless, { match: { method: 'HEAD', path: /\/blobs\// }, ...status(500) }] }),
  },
  {
    id: 'F11',
    fault: 'source blob: 503',
    rules: (s) => ({ source: [{ ...readsLayer(s, { nth: 1 }), ...status(503) }] }),
  },
]

const OTHERS: readonly Row[] = [
  {
    id: 'A1',
    fault: 'source stalls in a blob',
    stalls: true,
    rules: (s) => ({ source: [{ ...readsLayer(s, { nth: 1 }), do: { kind: 'stall-response', after: s.unit } }] }),
  },
  {
    id: 'A2',
    fault: 'destination stalls in an upload',
    sentAgain: 'layer, without resumption',
    readAgain: 'layer',
    stalls: true,
    rules: ({ unit }) => ({ destination: [{ ...sends({ nth: 1 }), do: { kind: 'stall-request', after: unit } }] }),
  },
  {
    id: 'A3',
    fault: 'destination never answers the POST of an upload',
    stalls: true,
    rules: () => ({
      destination: [{ match: { method: 'POST', path: BEGIN, nth: 1 }, do: { kind: 'stall-response' } }],
    }),
  },
  {
    id: 'A4',
    fault: 'source manifest cut in its middle',
    rules: () => ({ source: [{ ...readsManifest, do: { kind: 'cut-response', after: 100 } }] }),
  },
  {
    id: 'A5',
    fault: 'source manifest: no answer',
    rules: () => ({ source: [{ ...readsManifest, do: { kind: 'lose-answer' } }] }),
  },
  {
    id: 'A6',
    fault: 'answer to the POST of an upload lost',
    rules: () => ({ destination: [{ match: { method: 'POST', path: BEGIN, nth: 1 }, do: { kind: 'lose-answer' } }] }),
  },
  {
    id: 'A7',
    fault: 'answer to the PUT of a blob lost',
    rules: (s) => ({ destination: [{ ...commits(s, 1), do: { kind: 'lose-answer' } }] }),
  },
  {
    id: 'A8',
    fault: 'answer to the PUT of the manifest lost',
    rules: () => ({ destination: [{ ...putsManifest, do: { kind: 'lose-answer' } }] }),
  },
  {
    id: 'A9',
    fault: 'upload cut at every quarter',
    readAgain: 'any',
    embedded: {},
    rules: ({ unit }) => ({ destination: [{ ...sends(), do: { kind: 'cut-request', after: unit } }] }),
  },
  {
    id: 'A10',
    fault: 'upload cut for ever at the same byte, nothing kept',
    sentAgain: 'any',
    readAgain: 'any',
    embedded: { destination: { resume: 'destroy' } },
    ends: 'NETWORK',
    rules: (s) => ({
      destination: [{ ...commits(s, 1), match: { path: commitOf(s) }, do: { kind: 'cut-request', after: s.unit } }],
    }),
  },
  {
    id: 'A11',
    fault: 'PUT of the manifest: 522',
    rules: () => ({ destination: [{ ...putsManifest, ...status(522) }] }),
  },
  { id: 'A12', fault: 'source manifest: 408', rules: () => ({ source: [{ ...readsManifest, ...status(408) }] }) },
  {
    id: 'A13',
    fault: 'upload with its body: 429, Retry-After 2',
    readAgain: 'layer',
    rules: (s) => ({ destination: [{ ...commits(s, 1), ...status(429, { 'Retry-After': '2' }) }] }),
  },
  {
    id: 'A14',
    fault: 'upload with its body: 429, Retry-After one day',
    ends: 'RATE_LIMITED',
    rules: (s) => ({ destination: [{ ...commits(s, 1), ...status(429, { 'Retry-After': '86400' }) }] }),
  },
  {
    id: 'A15',
    fault: 'router page 503 before the first good answer',
    ends: 'NOT_EXPOSED',
    sourceRequests: 1,
    rules: () => ({ source: [{ ...readsManifest, ...status(503, HTML, UNAVAILABLE) }] }),
  },
  {
    id: 'A16',
    fault: 'router page 503 after it',
    rules: (s) => ({ source: [{ ...readsLayer(s, { nth: 1 }), ...status(503, HTML, UNAVAILABLE) }] }),
  },
  {
    id: 'A17',
    fault: '413 for bodies beyond 1.25 MiB',
    readAgain: 'any',
    rules: () => ({ destination: [tooLarge(BODY_LIMIT)] }),
  },
  {
    id: 'A18',
    fault: '413 beyond 3 MiB, OCI-Chunk-Min-Length 2 MiB',
    readAgain: 'any',
    embedded: { destination: { chunkMinLength: 2 * MIB } },
    rules: () => ({ destination: [tooLarge(3 * MIB)] }),
  },
  {
    id: 'A19',
    fault: 'stale Location: 416',
    readAgain: 'any',
    embedded: {},
    rules: ({ unit }) => ({
      destination: [
        cutUpload(unit),
        { match: { method: 'GET', path: UPLOADS, nth: 1 }, do: { kind: 'headers', headers: { Location: undefined } } },
      ],
    }),
  },
  {
    id: 'A20',
    fault: 'upload cut after one byte: Range 0-0',
    readAgain: 'layer',
    embedded: {},
    rules: (s) => ({ destination: [{ ...commits(s, 1), do: { kind: 'cut-request', after: 1 } }] }),
  },
  {
    id: 'A21',
    fault: 'upload cut before its first byte: Range 0--1',
    readAgain: 'layer',
    embedded: { destination: { resume: 'olareg' } },
    rules: (s) => ({ destination: [{ ...commits(s, 1), do: { kind: 'cut-request', after: 0 } }] }),
  },
  {
    id: 'A22',
    fault: 'upload cut, session destroyed (2.8)',
    sentAgain: 'layer',
    readAgain: 'layer',
    embedded: { destination: { resume: 'destroy' } },
    rules: ({ unit }) => ({ destination: [cutUpload(unit)] }),
  },
  {
    id: 'A23',
    fault: 'upload cut, no status of sessions: 404 (ECR)',
    sentAgain: 'layer',
    readAgain: 'layer',
    embedded: {},
    rules: ({ unit }) => ({
      destination: [cutUpload(unit), { match: { method: 'GET', path: UPLOADS }, ...status(404) }],
    }),
  },
  {
    id: 'A24',
    fault: 'MANIFEST_BLOB_UNKNOWN, blob collected',
    sentAgain: 'layer',
    readAgain: 'layer',
    embedded: {},
    rules: (s) => ({
      destination: [happens(putsManifest.match, 1, () => s.stored?.repository(TO).blobs.delete(s.layer))],
    }),
  },
  {
    id: 'A25',
    fault: 'MANIFEST_BLOB_UNKNOWN three times, blob there',
    rules: (s) => ({
      destination: [
        { match: { method: 'PUT', path: MANIFEST, nth: 1, times: 3 }, ...status(400, JSON_TYPE, unknownBlob(s.layer)) },
      ],
    }),
  },
  {
    id: 'A26',
    fault: 'immutable tag, written meanwhile with the same digest',
    embedded: { destination: { immutableTags: true } },
    rules: (s) => ({
      destination: [
        happens({ method: 'PUT', path: MANIFEST }, 1, () => {
          const { bytes, mediaType } = s.image.root
          s.stored?.putManifest(TO, bytes, mediaType, TAG)
        }),
      ],
    }),
  },
  {
    id: 'A27',
    fault: 'redirect to a signed URL, cut, the URL expired',
    embedded: { source: { redirect: { uses: 1 } } },
    rules: (s) => ({
      source: [
        { match: { path: new RegExp(`^/storage/${s.layer}`), nth: 1 }, do: { kind: 'cut-response', after: s.unit } },
      ],
    }),
  },
  {
    id: 'A28',
    fault: 'source cut, Range ignored: 200',
    readAgain: 'layer',
    rules: (s) => ({
      source: [
        { ...readsLayer(s, { nth: 1 }), do: { kind: 'cut-response', after: s.unit } },
        happens({ method: 'GET', path: new RegExp(s.layer) }, 2, ({ headers }) => delete headers.range),
      ],
    }),
  },
  {
    id: 'A29',
    fault: 'source cut, another range than asked for',
    readAgain: 'layer',
    rules: (s) => ({
      source: [
        { ...readsLayer(s, { nth: 1 }), do: { kind: 'cut-response', after: s.unit } },
        {
          ...readsLayer(s, { nth: 2 }),
          do: { kind: 'headers', headers: { 'Content-Range': undefined, 'content-range': `bytes 3-9/${4 * s.unit}` } },
        },
      ],
    }),
  },
  {
    id: 'A30',
    fault: 'source corrupt every time',
    sentAgain: 'layer',
    readAgain: 'layer',
    ends: 'DIGEST_MISMATCH',
    rules: (s) => ({ source: [{ ...readsLayer(s), do: { kind: 'corrupt', at: s.unit } }] }),
  },
  {
    id: 'A31',
    fault: 'destination refuses connections at first',
    embedded: { front: { side: 'destination', spoil: 'refused', tls: false } },
    rules: () => ({}),
  },
  {
    id: 'A32',
    fault: 'source ends the TLS handshake with an alert, twice',
    embedded: { front: { side: 'source', spoil: 'alert', tls: true } },
    rules: () => ({}),
  },
  {
    id: 'A33',
    fault: 'destination resets the TLS handshake, twice',
    embedded: { front: { side: 'destination', spoil: 'cut', tls: true } },
    rules: () => ({}),
  },
  {
    id: 'A34',
    fault: 'source blob: 503 for ever',
    ends: 'UNAVAILABLE',
    // The manifest, the config, the small layer, and the large one with five repetitions: nothing multiplies them.
    sourceRequests: 9,
    rules: (s) => ({ source: [{ ...readsLayer(s), ...status(503) }] }),
  },
]

export const MATRIX: readonly Row[] = [...PEERS, ...OTHERS]
