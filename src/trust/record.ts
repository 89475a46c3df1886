/**
 * The promotion record, an in-toto statement that a promotion took place, and the image signature that nodes verify.
 * Everything here is data: docs/promotion-record.md describes the format, the caller uploads it.
 */
import { z } from 'zod'
import { algorithmOf, type Digest, digestOf, referrersTag } from '../oci/digest.ts'
import { type Descriptor, type Manifest, MEDIA_TYPE, readManifest } from '../oci/manifest.ts'
import { IN_TOTO } from './bundle.ts'
import { preAuthEncoding } from './claim.ts'
import { fingerprint } from './keyed.ts'
import { COSIGN_SIGNATURE, SIGNATURE_PREDICATE, SIMPLE_SIGNING } from './signature.ts'
import type { SigningKey } from './signing-key.ts'

/** Where docs/promotion-record.md describes it. Members are only ever added. */
export const PROMOTION_TYPE = 'https://github.com/OWNER/image-promote/promotion/v1'

const BUNDLE = 'application/vnd.dev.sigstore.bundle.v0.3+json'
const ENVELOPE = 'application/vnd.dsse.envelope.v1+json'

/** What the run knows about one digest that goes to one destination, with all its tags. */
export type Promotion = Readonly<{
  action: 'promote' | 'rollback'
  digest: Digest
  /** `registry.example/ns/name`; undefined in an OCI layout, whose path is nobody else's business. */
  source: string | undefined
  destination: string | undefined
  /** `previous` is null for a new tag, and `unknown` where the tag was not read. */
  tags: readonly Readonly<{ tag: string; previous: Digest | null | 'unknown' }>[]
  /** Time of signing; RFC 3339. */
  promotedOn: string
  run: Readonly<{ id?: string; actor?: string; startedOn: string }>
  version: string
  /** SHA-256 of the policy file. */
  policy?: Digest | undefined
  verified: readonly Readonly<{ rule: number; by: string; kind: string }>[]
}>

export type Statement = Readonly<{
  _type: 'https://in-toto.io/Statement/v1'
  subject: readonly Readonly<Record<string, unknown>>[]
  predicateType: string
  predicate: object
}>

/** in-toto "DigestSet". */
function digestSet(digest: Digest): Readonly<Record<string, string>> {
  return { [algorithmOf(digest)]: digest.slice(digest.indexOf(':') + 1) }
}

/** in-toto "ResourceDescriptor". */
function resource(name: string | undefined, digest: Digest, uri?: string): Readonly<Record<string, unknown>> {
  return { ...(name && { name }), ...(uri && { uri }), digest: digestSet(digest) }
}

function statement(subject: Statement['subject'], predicateType: string, predicate: object): Statement {
  return { _type: 'https://in-toto.io/Statement/v1', subject, predicateType, predicate }
}

export function promotionStatement(promotion: Promotion): Statement {
  const { action, digest, source, destination, promotedOn, run, version, policy, verified } = promotion
  const tags = promotion.tags.map(({ tag, previous }) => {
    if (previous === 'unknown') return { tag }
    return { tag, previous: previous === null ? null : resource(destination, previous) }
  })
  return statement([resource(destination, digest)], PROMOTION_TYPE, {
    source: resource(source, digest, source && `docker://${source}@${digest}`),
    destination: resource(destination, digest),
    tags,
    action,
    promotedOn,
    run,
    promoter: { name: 'image-promote', version },
    ...(policy && { policy: { digest: digestSet(policy) } }),
    verified: verified.map(({ rule, by, kind }) => ({ rule, by, kind })),
  })
}

/**
 * What is written to the path, by file: a statement a line; in a folder, whose path ends with a slash, a statement and its
 * predicate for each record, since some programs sign the one and some the other.
 */
export function recordFiles(path: string, statements: readonly Statement[]): ReadonlyMap<string, string> {
  const json = (content: object) => `${JSON.stringify(content)}\n`
  if (!/[/\\]$/.test(path)) return new Map([[path, statements.map(json).join('')]])
  const files = statements.flatMap((stated, at) => [
    [`${path}${at + 1}.statement.json`, json(stated)] as const,
    [`${path}${at + 1}.predicate.json`, json(stated.predicate)] as const,
  ])
  return new Map(files)
}

/** As cosign writes it: without the name of a repository, which `signatureAttachment` has. */
export function signatureStatement(digest: Digest): Statement {
  return statement([{ digest: digestSet(digest) }], SIGNATURE_PREDICATE, {})
}

/** What is written to the destination: the blobs, then the manifest, by digest or merged into `tag`. */
export type NewAttachment = Readonly<{
  tag: string | undefined
  manifest: Manifest
  blobs: readonly Readonly<{ descriptor: Descriptor; bytes: Uint8Array }>[]
}>

/** cosign 3 and `actions/attest` write a signed statement so: a bundle that refers to the manifest. */
export function bundleAttachment(
  subject: Descriptor,
  stated: Statement,
  key: SigningKey,
  created: string,
): NewAttachment {
  const publicKey = { hint: Buffer.from(fingerprint(key.publicKey), 'hex').toString('base64') }
  const verificationMaterial = { publicKey, tlogEntries: [] }
  const bundle = { mediaType: BUNDLE, verificationMaterial, dsseEnvelope: envelope(stated, key) }
  const { mediaType, digest, size } = subject
  const annotations = {
    'dev.sigstore.bundle.content': 'dsse-envelope',
    'dev.sigstore.bundle.predicateType': stated.predicateType,
    'org.opencontainers.image.created': created,
  }
  const members = { artifactType: BUNDLE, subject: { mediaType, digest, size }, annotations }
  const config = blobOf('application/vnd.oci.empty.v1+json', {})
  return attachment(undefined, config, [blobOf(BUNDLE, bundle)], members)
}

/** The old form: a layer under the tag `sha256-HEX.att`, to be merged with what is there (`mergeSignatures`). */
export function attestationAttachment(subject: Digest, stated: Statement, key: SigningKey): NewAttachment {
  const annotations = { [COSIGN_SIGNATURE]: '', predicateType: stated.predicateType }
  return tagged(subject, 'att', [blobOf(ENVELOPE, envelope(stated, key), annotations)])
}

/**
 * What podman, skopeo, CRI-O and so `ImagePolicy` verify: a layer under `sha256-HEX.sig` for each tag.
 * @param repository the name that pods pull: containers/image compares `docker-reference` with it. A reference without
 *   a tag would be refused by its default match, `matchRepoDigestOrExact`, also for a pull by digest.
 */
export function signatureAttachment(subject: Digest, repository: string, tags: readonly string[], key: SigningKey) {
  const layers = tags.map((tag) => {
    const identity = { 'docker-reference': `${repository}:${tag}` }
    const image = { 'docker-manifest-digest': subject }
    const payload = { critical: { identity, image, type: 'cosign container image signature' }, optional: null }
    const blob = blobOf(SIMPLE_SIGNING, payload)
    const annotations = { [COSIGN_SIGNATURE]: key.sign(blob.bytes).toString('base64') }
    return { ...blob, descriptor: { ...blob.descriptor, annotations } }
  })
  return tagged(subject, 'sig', layers)
}

/**
 * The forms to write. cosign reads bundles alone as soon as one refers to the image, which would hide the signatures
 * under `.sig`: the record is a bundle only where bundles are, or nothing is. containers/image reads `.sig` alone.
 * @param carried what the image has at the destination: bundles, and the tags `.sig` or `.att`.
 */
export function formsToWrite(
  carried: Readonly<{ bundles: boolean; tags: boolean }>,
  sign: 'record' | 'image' | 'both',
) {
  const form = carried.bundles || !carried.tags ? 'bundle' : 'att'
  const record = sign === 'image' ? undefined : form
  const hidden = carried.bundles || record === 'bundle'
  const signature: readonly ('sig' | 'bundle')[] = sign === 'record' ? [] : hidden ? ['sig', 'bundle'] : ['sig']
  return { record, signature } as const
}

const digestSetSchema = z.record(z.string(), z.string())
const resourceSchema = z.object({ name: z.string().optional(), digest: digestSetSchema })
const recordSchema = z.object({
  source: resourceSchema,
  destination: resourceSchema,
  tags: z.array(z.object({ tag: z.string(), previous: resourceSchema.nullish() })).max(10_000),
  action: z.string(),
  promotedOn: z.iso.datetime({ offset: true }),
  run: z.object({ id: z.string().optional(), actor: z.string().optional() }).optional(),
  policy: z.object({ digest: digestSetSchema }).optional(),
})
/** The members that are read back. */
export type PromotionRecord = z.infer<typeof recordSchema>

/** The record in a predicate of the type `PROMOTION_TYPE`; undefined when it is not one. Who signed it is another question. */
export function readRecord(predicate: unknown): PromotionRecord | undefined {
  return recordSchema.safeParse(predicate).data
}

/**
 * Whether the newest record of this destination says the same already: source, tags with what they pointed at, policy and
 * action. An older equal one does not count: the tag may have gone back in between.
 * @param records by the same key, of the same digest.
 */
export function isRecorded(records: readonly PromotionRecord[], promotion: Promotion): boolean {
  const wanted = readRecord(promotionStatement(promotion).predicate)
  if (wanted === undefined) return false
  const [newest] = records
    .filter(({ destination }) => destination.name === wanted.destination.name)
    .sort((a, b) => Date.parse(b.promotedOn) - Date.parse(a.promotedOn))
  return newest !== undefined && contentOf(newest) === contentOf(wanted)
}

function contentOf({ source, tags, action, policy }: PromotionRecord): string {
  const moves = tags.map(({ tag, previous = 'unread' }) => JSON.stringify([tag, previous]))
  return JSON.stringify([source.name, source.digest, moves.sort(), action, policy?.digest])
}

/** DSSE (secure-systems-lab/dsse protocol.md): exactly one signature, which cosign demands. */
function envelope(stated: Statement, key: SigningKey): object {
  const payload = Buffer.from(JSON.stringify(stated))
  const sig = key.sign(preAuthEncoding(IN_TOTO, payload)).toString('base64')
  return { payload: payload.toString('base64'), payloadType: IN_TOTO, signatures: [{ sig }] }
}

type Blob = NewAttachment['blobs'][number]

function blobOf(mediaType: string, content: object, annotations?: Descriptor['annotations']): Blob {
  const bytes = Buffer.from(JSON.stringify(content))
  const descriptor = { mediaType, digest: digestOf(bytes), size: bytes.length, ...(annotations && { annotations }) }
  return { descriptor, bytes }
}

/** One manifest, as cosign writes it: with the config of an image that has the payloads as its layers. */
function tagged(subject: Digest, suffix: 'sig' | 'att', layers: readonly Blob[]): NewAttachment {
  const created = '0001-01-01T00:00:00Z'
  const diffIds = layers.map(({ descriptor }) => descriptor.digest)
  const rootfs = { type: 'layers', diff_ids: diffIds }
  const image = { architecture: '', created, history: layers.map(() => ({ created })), os: '', rootfs, config: {} }
  const config = blobOf('application/vnd.oci.image.config.v1+json', image)
  return attachment(`${referrersTag(subject)}.${suffix}`, config, layers)
}

function attachment(
  tag: string | undefined,
  config: Blob,
  layers: readonly Blob[],
  members: object = {},
): NewAttachment {
  const links = { config: config.descriptor, layers: layers.map(({ descriptor }) => descriptor) }
  const document = { schemaVersion: 2, mediaType: MEDIA_TYPE.ociManifest, ...members, ...links }
  const manifest = readManifest(Buffer.from(JSON.stringify(document)), MEDIA_TYPE.ociManifest)
  return { tag, manifest, blobs: [config, ...layers] }
}
