import { asPromoteError, PromoteError } from '../core/errors.ts'
import type { Undo } from '../inputs/rollback-report.ts'
import type { SideConfig } from '../inputs/side.ts'
import type { Digest, TagState } from '../oci/digest.ts'
import { formatReference, type Reference } from '../oci/reference.ts'
import { tagRow } from '../report/make-report.ts'
import type { Row, Status } from '../report/model.ts'
import { notOurs } from './guards.ts'
import { backNeeded, putBack } from './move-tags.ts'
import { isConfigured, type Repository } from './repositories.ts'
import { errorOf, failedStatus } from './rows.ts'
import { noteFailure, type Run } from './run.ts'
import { rowsAt, type Session, type Sessions } from './session.ts'

/**
 * Puts the tags of an earlier promotion back, each for itself. Nothing is copied. A tag that another client has written since
 * stays where it is.
 */
export async function rollBack(undos: readonly Undo[], run: Run): Promise<readonly Row[]> {
  const needed = new Set(undos.map(({ target }) => target))
  const sides = run.config.destinations.filter(({ name }) => needed.has(name))
  return rowsAt(undos, sides, run, (undo, sessions) => undoTag(undo, sessions, run))
}

async function undoTag(undo: Undo, sessions: Sessions, run: Run): Promise<Row> {
  const { context, config, copy } = run
  const began = context.now()
  let before: TagState = 'unknown'
  const row = (status: Status, error?: PromoteError) => rowOf(undo, status, before, context.now() - began, error)
  try {
    const destination = config.destinations.find(({ name }) => name === undo.target) as SideConfig
    const session = await sessions.destination(undo.target)
    const repository = await openForUndo(session, undo.destination, destination)
    copy.check?.()
    const now = await copy.semaphore(() => repository.store.locate(undo.destination.tag))
    before = now
    return row(await putOneBack(repository, undo, now, run))
  } catch (thrown) {
    const error = noteFailure(asPromoteError(thrown, 'destination'), undo.target, run)
    return row(error.unconfirmed ? 'unknown' : failedStatus(error), error)
  }
}

/** @param now where the tag is. */
async function putOneBack(repository: Repository, undo: Undo, now: Digest | null, run: Run): Promise<Status> {
  const { config, context, copy, sign, note } = run
  const { store } = repository
  const { previous: from, promoted: to } = undo
  const { tag } = undo.destination
  const name = `${store.name}:${tag}`
  if (from === 'unknown') throw previousUnknown(name, to, now)
  if (!backNeeded(name, now, { from, to })) return 'unchanged'
  if (config.dryRun) return 'planned'
  const promotion = { action: 'rollback', tags: [{ tag, previous: to }], verified: [] } as const
  const isRecorded = (sign ?? note) !== undefined && config.sign?.what !== 'image' && from !== null
  const root = isRecorded ? await copy.semaphore(() => store.resolve(from)) : undefined
  const arrived = root && { repository, root, children: [], source: store.name, promotion, image: 0 }
  if (arrived !== undefined) await sign?.(arrived)
  await copy.semaphore(() => putBack(store, tag, { from, to }, context))
  if (arrived !== undefined) note?.(arrived)
  return 'reverted'
}

function previousUnknown(name: string, promoted: Digest, now: Digest | null): PromoteError {
  if (now !== promoted) return notOurs(name, promoted, now)
  return new PromoteError('UNSUPPORTED', `${name} stays at ${promoted}: where it was before was not readable.`, {
    side: 'destination',
    hint: 'Put the tag back by hand, or promote what it has to be at.',
  })
}

/**
 * The report may have been changed since it was written. So a row goes only to the registry that is configured for its
 * target, or, when that is a cluster alone, to the cluster's own.
 */
async function openForUndo(session: Session, reference: Reference, target: SideConfig): Promise<Repository> {
  const { host, repository } = reference
  const own = target.registry?.host
  // A registry host without a dot or a port is parsed as the first part of the repository.
  if (host === undefined && own !== undefined && repository.startsWith(`${own}/`))
    return session.repository({ ...reference, repository: repository.slice(own.length + 1) })
  if (isConfigured(reference, target)) return session.repository(reference)
  const found = own === undefined && session.cluster !== undefined ? await session.repository(reference) : undefined
  if (found?.cluster !== undefined) return found
  throw new PromoteError('USAGE', `${formatReference(reference)} is not at the registry of ${target.name}.`, {
    side: 'input',
    hint: `Check where the report comes from. If the promotion went to ${host}, configure that as the registry.`,
  })
}

/** `previousDigest` is where the tag was before the rollback, `digest` where it is (or would be) now. */
function rowOf(undo: Undo, status: Status, before: TagState, milliseconds: number, error?: PromoteError): Row {
  const { destination, target, previous } = undo
  const name = formatReference({ ...destination, tag: undefined })
  const restored = previous === 'unknown' ? null : previous
  const source = restored === null ? `${name}:${destination.tag}` : `${name}@${restored}`
  const digest = error === undefined ? restored : null
  const digests = { sourceDigest: restored, digest, previousDigest: before }
  const end = { status, error: errorOf(error), milliseconds }
  return tagRow({ source, destination: formatReference(destination), target, ...digests, ...end }, destination.tag)
}
