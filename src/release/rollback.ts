import type { TagState } from '../copy/confirm.ts'
import { published } from '../copy/plan.ts'
import type { Target } from '../copy/store.ts'
import { asPromoteError, PromoteError } from '../core/errors.ts'
import type { Undo } from '../inputs/rollback-report.ts'
import type { Digest } from '../oci/digest.ts'
import { formatReference, type Reference } from '../oci/reference.ts'
import type { Row, Status } from '../report/model.ts'
import { notOurs } from './guards.ts'
import { backNeeded, putBack } from './move-tags.ts'
import { type Destination, logIn, logOut, type Run } from './run.ts'
import { isConfigured, type Repository, type Side } from './session.ts'

/**
 * Puts the tags of an earlier promotion back, each for itself; nothing is copied. A tag goes back only from what the
 * promotion has written: what somebody has written since stays.
 */
export async function rollBack(undos: readonly Undo[], run: Run): Promise<readonly Row[]> {
  const { config, host } = run
  const needed = new Set(undos.map(({ target }) => target))
  const destinations = config.destinations
    .filter(({ name }) => needed.has(name))
    .map((to): Destination => ({ config: to, side: logIn(to, run) }))
  const undoAndTell = async (undo: Undo, image: number): Promise<Row> => {
    const row = await undoOne(undo, destinations, run)
    host.event({ event: 'image', image, row })
    return row
  }
  try {
    return await Promise.all(undos.map(undoAndTell))
  } finally {
    await logOut(destinations.map(({ side }) => side))
  }
}

async function undoOne(undo: Undo, destinations: readonly Destination[], run: Run): Promise<Row> {
  const { context, shared } = run
  const began = context.now()
  const seen: Seen = { at: 'unread' }
  const row = (status: Status) => rowOf(undo, status, seen, context.now() - began)
  try {
    const to = destinations.find(({ config: { name } }) => name === undo.target)
    if (to === undefined) throw unknownTarget(undo, run)
    const { store } = await open(await to.side, undo.destination, to)
    return row(await shared.permits(() => putOneBack(store, undo, seen, run)))
  } catch (thrown) {
    const known = asPromoteError(thrown, 'destination')
    const error = known.side === 'destination' ? known.with({ target: undo.target }) : known
    if (error.code !== 'ABANDONED') run.halted.by ??= error
    const { code, side = null, hint = null } = error
    const ended = code === 'CANCELLED' || code === 'ABANDONED' ? 'cancelled' : 'failed'
    const status = error.unconfirmed ? 'unknown' : ended
    return { ...row(status), error: { code, side, message: error.message, hint } }
  }
}

/** Where the tag was before the rollback. */
type Seen = { at: TagState }

async function putOneBack(store: Target, undo: Undo, seen: Seen, { config, context, shared }: Run): Promise<Status> {
  shared.check?.()
  const { previous: from, promoted: to } = undo
  const { tag } = undo.destination
  const now = await store.locate(tag)
  seen.at = now
  const name = `${store.name}:${tag}`
  if (from === 'unknown') throw previousUnknown(name, to, now)
  if (!backNeeded(name, now, { from, to })) return 'unchanged'
  if (config.dryRun) return 'planned'
  await putBack(store, tag, { from, to }, context)
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
 * The report may have been changed on its way here: a row goes to the registry that its target is configured with, or, when
 * that is a cluster alone, to the cluster's own.
 */
async function open(side: Side, reference: Reference, { config }: Destination): Promise<Repository> {
  const { host, repository } = reference
  const own = config.registry?.host
  // A registry whose name has neither dot nor port reads like a part of the repository.
  if (host === undefined && own !== undefined && repository.startsWith(`${own}/`))
    return side.repository({ ...reference, repository: repository.slice(own.length + 1) })
  if (isConfigured(reference, config)) return side.repository(reference)
  const found = own === undefined && side.cluster !== undefined ? await side.repository(reference) : undefined
  if (found?.cluster !== undefined) return found
  throw new PromoteError('USAGE', `${formatReference(reference)} is not at the registry of ${config.name}.`, {
    side: 'input',
    hint: `Check where the report comes from. If the promotion went to ${host}, configure that as the registry.`,
  })
}

function unknownTarget({ destination, target }: Undo, { config }: Run): PromoteError {
  const names = config.destinations.map(({ name }) => name).join(', ')
  const message = `${formatReference(destination)} is at the destination ${target}, which is not configured.`
  const hint = `Configure it as the promotion did; there is: ${names}.`
  return new PromoteError('USAGE', message, { side: 'input', hint })
}

/** `previousDigest` is where the tag was before the rollback, `digest` where it is (or would be) now. */
function rowOf({ destination, target, previous }: Undo, status: Status, { at }: Seen, milliseconds: number): Row {
  const name = formatReference({ ...destination, tag: undefined })
  const done = status === 'reverted' || status === 'planned' || status === 'unchanged'
  const known = previous === 'unknown' ? null : previous
  return {
    source: known === null ? `${name}:${destination.tag}` : `${name}@${known}`,
    sourceDigest: known,
    destination: formatReference(destination),
    target,
    tag: destination.tag,
    digest: done ? known : null,
    previousDigest: published(at),
    status,
    bytes: { total: 0, copied: 0, mounted: 0, present: 0 },
    attached: [],
    error: null,
    platforms: [],
    milliseconds,
  }
}
