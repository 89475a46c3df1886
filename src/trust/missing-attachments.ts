/** What a promotion has to write beside an image: the record and the signatures that are not there yet. */
import type { Manifest } from '../oci/manifest.ts'
import { BUNDLE } from '../oci/signature.ts'
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
import type { SigningKey } from './signing-key.ts'

export type Signing = Readonly<{ key: SigningKey; what: 'record' | 'image' | 'both'; verifier: SignerVerifier }>

export type Wanted = Readonly<{
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

export async function missingAttachments(
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
