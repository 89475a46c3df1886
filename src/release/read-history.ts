import { attachmentsAt } from '../copy/attachments.ts'
import { blobsOf } from '../copy/require-signed.ts'
import { asPromoteError } from '../core/errors.ts'
import type { SideConfig } from '../inputs/side.ts'
import { formatReference, type Reference } from '../oci/reference.ts'
import { tagRow } from '../report/make-report.ts'
import type { Row } from '../report/model.ts'
import { historyLines, historyOf } from '../trust/history.ts'
import { SignerVerifier } from '../trust/keyless.ts'
import { resolve } from './plan-image.ts'
import { errorOf, failedStatus, sourceName } from './rows.ts'
import { noteFailure, type Run } from './run.ts'
import { rowsAt, type Sessions } from './session.ts'

type Wanted = Readonly<{ reference: Reference; at: SideConfig }>

/** Reads the promotion records of images at the destinations. Nothing is written, and no source is asked. */
export async function readHistory(run: Run): Promise<Readonly<{ rows: readonly Row[] }>> {
  const { destinations, history } = run.config
  const wanted = history.flatMap((reference) => destinations.map((at) => ({ reference, at })))
  const verifier = new SignerVerifier()
  return { rows: await rowsAt(wanted, destinations, run, (each, sessions) => readOne(each, verifier, sessions, run)) }
}

async function readOne({ reference, at }: Wanted, verifier: SignerVerifier, sessions: Sessions, run: Run) {
  const { context, copy, signers } = run
  const began = context.now()
  const { tag = '' } = reference
  const row = (name: string, more: Pick<Row, 'digest' | 'status' | 'error' | 'history'>): Row => {
    const same = { source: name, destination: name, sourceDigest: more.digest, previousDigest: more.digest }
    return tagRow({ ...same, ...more, target: at.name, milliseconds: context.now() - began }, tag)
  }
  try {
    const repository = await (await sessions.destination(at.name)).repository(reference)
    const { store } = repository
    const root = await copy.semaphore(() => resolve({ source: reference }, repository))
    const { digest } = root.descriptor
    const attached = await attachmentsAt(store, copy.semaphore)(digest)
    const read = blobsOf(store, copy.semaphore)
    const { records, refusals } = await historyOf(root, attached, signers, verifier, read)
    const name = sourceName(repository, reference)
    for (const { message } of refusals) context.log.warn(`${name}: ${message}`)
    for (const line of historyLines(name, digest, records)) context.log.info(line)
    return row(name, { digest, status: 'read', error: null, history: records })
  } catch (thrown) {
    const error = noteFailure(asPromoteError(thrown, 'destination'), at.name, run)
    return row(formatReference(reference), { digest: null, status: failedStatus(error), error: errorOf(error) })
  }
}
