/** The promotion records of an image, read back: docs/promotion-record.md, "Reading it", says what the members mean. */
import { PromoteError } from '../core/errors.ts'
import { cut, oneLine } from '../core/text.ts'
import type { Digest } from '../oci/digest.ts'
import type { Manifest } from '../oci/manifest.ts'
import { type Attachment, type Evidence, readEvidence } from './evidence.ts'
import type { ReadBlob } from './examine.ts'
import type { SignerVerifier } from './keyless.ts'
import { PROMOTION_TYPE, type PromotionRecord, readRecord } from './record.ts'
import type { Refusal } from './refusal.ts'
import type { Signer } from './signer-identity.ts'

type Signers = ReadonlyMap<string, Signer> | undefined
export type PastPromotion = ReturnType<typeof told> & Awaited<ReturnType<typeof whoSigned>>

/**
 * @param signers any of them may have signed; undefined: no signature is verified.
 * @returns the oldest first. @throws PromoteError UNSUPPORTED when too much is attached: no record would be wrong.
 */
export async function historyOf(
  subject: Manifest,
  attachments: readonly Attachment[],
  signers: Signers,
  verifier: SignerVerifier,
  read: ReadBlob,
): Promise<Readonly<{ records: readonly PastPromotion[]; refusals: readonly Refusal[] }>> {
  const { evidence, refusals } = await readEvidence(subject, attachments, read)
  const unread = refusals.find(({ attachment }) => attachment === null)
  if (unread !== undefined) throw new PromoteError('UNSUPPORTED', unread.message, { side: 'destination' })
  const records = evidence.map(async (each): Promise<readonly PastPromotion[]> => {
    const said = each.predicateType === PROMOTION_TYPE ? readRecord(each.predicate) : undefined
    return said === undefined ? [] : [{ ...told(said, each), ...(await whoSigned(each, signers, verifier)) }]
  })
  const byTime = (a: PastPromotion, b: PastPromotion) => Date.parse(a.promotedOn) - Date.parse(b.promotedOn)
  return { records: (await Promise.all(records)).flat().sort(byTime), refusals }
}

/** Null where the record does not say it. */
function told({ source, destination, promotedOn, action, run, policy, tags }: PromotionRecord, evidence: Evidence) {
  return {
    promotedOn,
    action: text(action),
    source: text(source.name),
    destination: text(destination.name),
    tags: tags.map(({ tag, previous }) => {
      return { tag: text(tag), previous: previous === undefined ? 'unknown' : digestIn(previous?.digest) }
    }),
    run: text(run?.id),
    actor: text(run?.actor),
    policy: digestIn(policy?.digest),
    attachment: evidence.attachment,
    form: evidence.form,
  } as const
}

async function whoSigned(evidence: Evidence, signers: Signers, verifier: SignerVerifier) {
  const refused: string[] = []
  for (const [signer, wanted] of signers ?? []) {
    const verdict = await verifier.verify(evidence, wanted)
    if ('signer' in verdict) {
      const { signer: by } = verdict
      const name = by.method === 'key' ? `key ${by.key}` : `${by.subject} (${by.issuer})`
      return { signer, signedBy: oneLine(name), problem: null }
    }
    refused.push(verdict.refusal.message)
  }
  const problem = signers === undefined ? 'set signer-key or policy to have it verified' : oneLine(refused.join(' '))
  return { signer: null, signedBy: null, problem }
}

function text(said: string | undefined): string | null {
  return said === undefined ? null : oneLine(said, 500)
}

/** Of an in-toto "DigestSet", which has one entry here. */
function digestIn(set: Readonly<Record<string, string>> | undefined): string | null {
  const [first] = Object.entries(set ?? {})
  return text(first?.join(':'))
}

/** For a person. */
export function historyLines(name: string, digest: Digest, records: readonly PastPromotion[]): readonly string[] {
  const count = records.length === 1 ? '1 promotion record' : `${records.length || 'no'} promotion records`
  const blocks = records.map(({ promotedOn, action, source, destination, tags, run, actor, ...each }) => {
    const moves = tags.map(({ tag, previous }) => `${tag} (${previous === null ? 'new' : `before: ${previous}`})`)
    return [
      `  ${promotedOn} ${action}: ${source ?? 'an OCI layout'} → ${destination ?? 'an OCI layout'}`,
      `    tags: ${moves.join(', ')}`,
      `    run: ${run ?? 'not recorded'}${actor === null ? '' : ` by ${actor}`}`,
      each.signer === null ? `    NOT VERIFIED: ${each.problem}` : `    signed by ${each.signer}: ${each.signedBy}`,
    ]
  })
  return [`${name} is at ${digest}: ${count}`, ...blocks.flat().map((line) => cut(line, 4000))]
}
