/** Why an evidence does not count. */
import { oneLine } from '../core/text.ts'
import type { Digest } from '../oci/digest.ts'

export type Reason =
  | 'MALFORMED'
  | 'TOO_LARGE' // more or larger than what is read
  | 'MISSING' // listed, and the registry does not have it
  | 'NOTARY' // signed by Notary Project, which is not verified
  | 'OTHER_IMAGE'
  | 'OTHER_TYPE' // another predicate type than the wanted one
  | 'OTHER_REPOSITORY'
  | 'OTHER_KEY' // another key or certificate, or the content was changed
  | 'OTHER_ROOT' // the certificate is not issued by a CA of the trusted root
  | 'OTHER_ISSUER'
  | 'OTHER_SUBJECT'
  | 'OTHER_CLAIM'
  | 'EXPIRED' // the certificate was not valid at the trusted time
  | 'UNLOGGED' // no log entry or timestamp of the trusted root, or one of another signature
  | 'ED25519PH'

/** A sentence with foreign text bounded and visible. `attachment` is null where it is about all of them. */
export type Refusal = Readonly<{ reason: Reason; message: string; attachment: Digest | null }>

/** Thrown inside of this folder alone: its functions return a `Refusal`. */
export class RefusedEvidence extends Error {
  readonly reason: Reason

  /** @param clause goes on after "The attachment sha256:…". */
  constructor(reason: Reason, clause: string) {
    super(clause)
    this.reason = reason
  }
}

/** Whatever was thrown over content from outside: what is not ours comes from a parser or from the library. */
export function refusalOf(thrown: unknown, attachment: Digest | null): Refusal {
  const isOurs = thrown instanceof RefusedEvidence
  const clause = isOurs ? thrown.message : `cannot be read: ${thrown instanceof Error ? thrown.message : thrown}`
  const subject = attachment === null ? 'The image' : `The attachment ${attachment}`
  return { reason: isOurs ? thrown.reason : 'MALFORMED', message: oneLine(`${subject} ${clause}.`, 500), attachment }
}
