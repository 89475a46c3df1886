/** What a promotion has to write beside an image: the record and the signatures that are not there yet. */
import { bodyOf } from '../core/async.ts'
import { PromoteError } from '../core/errors.ts'
import type { Digest } from '../oci/digest.ts'
import type { Descriptor, Manifest } from '../oci/manifest.ts'
import { type Attachment, readEvidence } from './evidence.ts'
import type { ReadBlob } from './examine.ts'
import type { SignerVerifier } from './keyless.ts'
import {
  attestationAttachment,
  bundleAttachment,
  formsToWrite,
  isRecorded,
  type NewAttachment,
  PROMOTION_TYPE,
  type Promotion,
  promotionStatement,
  readRecord,
  signatureAttachment,
  signatureStatement,
} from './record.ts'
import { BUNDLE } from './signature.ts'
import type { SigningKey } from './signing-key.ts'

export type Signing = Readonly<{ key: SigningKey; what: 'record' | 'image' | 'both'; verifier: SignerVerifier }>

type Wanted = Readonly<{
  subject: Manifest
  /** What the destination has beside the subject. */
  attachments: readonly Attachment[]
  promotion: Promotion
  /** Name in the image signature; undefined: there is none. */
  signAs: string | undefined
  /** False for the children of an index: they are signed, and the record is that of the index. */
  isRoot: boolean
}>

/** `digest` names the bundle's manifest, or the layer under `.att`. */
export type WrittenRecord = Readonly<{ digest: string; form: 'bundle' | 'att' }>

async function missingAttachments(
  { subject, attachments, promotion, signAs, isRoot }: Wanted,
  { key, what, verifier }: Signing,
  read: ReadBlob,
): Promise<Readonly<{ attachments: readonly NewAttachment[]; record: WrittenRecord | null }>> {
  const { evidence } = await readEvidence(subject, attachments, read)
  const verdicts = await Promise.all(
    evidence.map((each) => verifier.verify(each, { keys: [key.publicKey], log: undefined })),
  )
  const own = evidence.filter((_, at) => 'signer' in (verdicts[at] ?? {}))
  const bundles = attachments.some(({ manifest, tag }) => tag === null && BUNDLE.test(manifest.artifactType ?? ''))
  const forms = formsToWrite({ bundles, tags: attachments.some(({ tag }) => /\.(?:sig|att)$/.test(tag ?? '')) }, what)
  const { digest } = subject.descriptor
  const written: NewAttachment[] = []
  let record: WrittenRecord | null = null
  const records = own.filter(({ predicateType }) => predicateType === PROMOTION_TYPE)
  const said = records.flatMap(({ predicate }) => readRecord(predicate) ?? [])
  if (isRoot && forms.record !== undefined && !isRecorded(said, promotion)) {
    const stated = promotionStatement(promotion)
    const isBundle = forms.record === 'bundle'
    const added = isBundle
      ? bundleAttachment(subject.descriptor, stated, key, promotion.promotedOn)
      : attestationAttachment(digest, stated, key)
    const layer = added.blobs.at(-1)?.descriptor.digest ?? digest
    record = { digest: isBundle ? added.manifest.descriptor.digest : layer, form: forms.record }
    written.push(added)
  }
  const signatures = own.filter(({ kind }) => kind === 'signature')
  const signed = new Set(signatures.flatMap(({ form, names }) => (form === 'sig' ? names : [])))
  const tags = promotion.tags.map(({ tag }) => tag).filter((tag) => !signed.has(`${signAs}:${tag}`))
  if (forms.signature.includes('sig') && signAs !== undefined && tags.length > 0)
    written.push(signatureAttachment(digest, signAs, tags, key))
  if (forms.signature.includes('bundle') && !signatures.some(({ form }) => form === 'bundle'))
    written.push(bundleAttachment(subject.descriptor, signatureStatement(digest), key, promotion.promotedOn))
  return { attachments: written, record }
}

type Destination = Readonly<{
  /** What is attached to a manifest there. */
  find: (subject: Digest) => Promise<readonly Attachment[]>
  read: ReadBlob
  write: (subject: Manifest, attachments: readonly NewAttachment[]) => Promise<void>
}>

/** @param subjects the children that are signed, and the root last. */
export async function signSubjects(
  subjects: readonly Manifest[],
  wanted: Pick<Wanted, 'promotion' | 'signAs'>,
  signing: Signing,
  { find, read, write }: Destination,
): Promise<WrittenRecord | null> {
  let written: WrittenRecord | null = null
  for (const subject of subjects) {
    const attachments = await find(subject.descriptor.digest)
    const isRoot = subject === subjects.at(-1)
    const missing = await missingAttachments({ ...wanted, subject, attachments, isRoot }, signing, read)
    await write(subject, missing.attachments)
    written = missing.record
  }
  return written
}

type Key = `${'blob' | 'manifest'} ${Digest}`

/** The new attachments in the form in which the copy engine takes an image: nodes in upload order, and where bytes are read. */
export function asImage(root: Manifest, attachments: readonly NewAttachment[]) {
  const why = 'new: signed by this promotion'
  const attachedTo = root.descriptor.digest
  const keyOf = ({ digest }: Descriptor): Key => `blob ${digest}`
  const nodes = attachments.flatMap(({ tag, manifest, blobs }) => {
    const { descriptor } = manifest
    const key: Key = `manifest ${`${descriptor.digest}${tag === undefined ? '' : ` ${tag}`}` as Digest}`
    const needs = blobs.map((blob) => keyOf(blob.descriptor))
    return [
      ...blobs.map((blob) => ({
        key: keyOf(blob.descriptor),
        kind: 'blob' as const,
        descriptor: blob.descriptor,
        needs: [],
      })),
      { key, kind: 'manifest' as const, descriptor, manifest, needs, attachedTo, ...(tag && { tag }) },
    ]
  })
  const steps = nodes.map((node) => [node.key, { do: node.kind === 'blob' ? 'copy' : 'push', node, why }] as const)
  const bytes = new Map(attachments.flatMap(({ blobs }) => blobs.map((blob) => [blob.descriptor.digest, blob.bytes])))
  const refuse = async () => {
    throw new PromoteError('INTERNAL', 'a new attachment has blobs alone')
  }
  const blob = async ({ digest }: Descriptor, offset = 0) => bodyOf((bytes.get(digest) ?? Buffer.of()).subarray(offset))
  return {
    graph: { root, nodes: new Map(nodes.map((node) => [node.key, node])), platforms: [], attached: [] },
    steps: new Map(steps),
    source: { name: 'the signature', resolve: refuse, manifest: refuse, referrers: refuse, find: refuse, blob },
  }
}

/** One digest at one destination: everything is there, and no tag has moved. */
export type ArrivedAt<Repository> = Readonly<{
  repository: Repository
  root: Manifest
  /** Of an index, the images that were promoted. */
  children: readonly Manifest[]
  source: string | undefined
  promotion: Pick<Promotion, 'action' | 'tags' | 'verified'>
  /** Number of the image, for events. */
  image: number
}>
