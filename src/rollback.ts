import { backNeeded, putBack } from './copy/atomic.ts'
import { asPromoteError, PromoteError } from './errors.ts'
import type { Undo } from './inputs/rollback-file.ts'
import { formatReference, type Reference } from './oci/reference.ts'
import type { Row, Status } from './report/model.ts'
import type { Side } from './side.ts'
import { atTarget, type Destination, logIn, logOut, type Run } from './work.ts'

/**
 * Puts the tags of an earlier promotion back, each for itself; nothing is copied. A tag goes back only from what the
 * promotion has written: what somebody has written since stays.
 */
export async function rollBack(undos: readonly Undo[], run: Run): Promise<readonly Row[]> {
  const { config, shared } = run
  const needed = new Set(undos.map(({ target }) => target))
  const destinations = config.destinations
    .filter(({ name }) => needed.has(name))
    .map((to): Destination => ({ config: to, side: logIn(to, run) }))
  try {
    return await Promise.all(
      undos.map(async (undo, image) => {
        const row = await undoOne(undo, destinations, run)
        shared.emit({ event: 'image', image, row })
        return row
      }),
    )
  } finally {
    await logOut(destinations.map(({ side }) => side))
  }
}

async function undoOne(undo: Undo, destinations: readonly Destination[], run: Run): Promise<Row> {
  const { config, context, shared } = run
  const began = context.now()
  const way = { from: undo.previous, to: undo.promoted }
  const { tag } = undo.destination
  try {
    const to = destinations.find(({ config: { name } }) => name === undo.target)
    if (to === undefined) throw unknownTarget(undo, run)
    const { store } = await open(await to.side, undo.destination, to)
    const back = await shared.permits(async () => {
      shared.check?.()
      if (!config.dryRun) return putBack(store, tag, way)
      return (await backNeeded(store, tag, way)) ? 'planned' : 'unchanged'
    })
    return rowOf(undo, back, context.now() - began)
  } catch (thrown) {
    const known = asPromoteError(thrown, 'destination')
    const error = known.side === 'destination' ? atTarget(known, undo.target) : known
    if (error.code !== 'ABANDONED') run.halted.by ??= error
    const status = error.code === 'CANCELLED' || error.code === 'ABANDONED' ? 'cancelled' : 'failed'
    const { code, side = null, hint = null } = error
    return { ...rowOf(undo, status, context.now() - began), error: { code, side, message: error.message, hint } }
  }
}

/** A registry whose name has neither dot nor port reads like a part of the repository. */
function open(side: Side, reference: Reference, { config }: Destination) {
  const { host, repository } = reference
  const own = config.registry?.host
  if (host !== undefined || own === undefined || !repository.startsWith(`${own}/`)) return side.repository(reference)
  return side.repository({ ...reference, repository: repository.slice(own.length + 1) })
}

function unknownTarget({ destination, target }: Undo, { config }: Run): PromoteError {
  const names = config.destinations.map(({ name }) => name).join(', ')
  return new PromoteError(
    'USAGE',
    `${formatReference(destination)} is at the destination ${target}, which is not configured.`,
    {
      side: 'input',
      hint: `Configure it as the promotion did; there is: ${names}.`,
    },
  )
}

/** `previousDigest` is where the tag was before the rollback, `digest` where it is (or would be) now. */
function rowOf({ destination, target, promoted, previous }: Undo, status: Status, milliseconds: number): Row {
  const name = formatReference({ ...destination, tag: undefined })
  const done = status === 'reverted' || status === 'planned' || status === 'unchanged'
  return {
    source: previous === null ? `${name}:${destination.tag}` : `${name}@${previous}`,
    sourceDigest: previous,
    destination: formatReference(destination),
    target,
    tag: destination.tag,
    digest: done ? previous : null,
    previousDigest: status === 'unchanged' ? previous : promoted,
    status,
    bytes: { total: 0, copied: 0, mounted: 0, present: 0 },
    attached: [],
    error: null,
    platforms: [],
    milliseconds,
  }
}
