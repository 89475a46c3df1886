import { randomUUID } from 'node:crypto'
import { PromoteError } from '../core/errors.ts'
import { isFile, readInput } from '../core/files.ts'
import { quote } from '../core/text.ts'
import type { Config } from '../inputs/config.ts'
import { type EarlierReport, LARGEST_REPORT, readReport } from '../inputs/rollback-report.ts'
import { formatReference } from '../oci/reference.ts'
import { tagRow } from '../report/make-report.ts'
import type { Report, Row } from '../report/model.ts'
import type { Host } from './host.ts'

/**
 * A rollback needs the report, and a run that is repeated overwrites it (Tekton's `retries`, a re-run of a job, the same command
 * again). So the new report keeps the tags that earlier tries have moved, with their digests from before the first try.
 */

type Moved = EarlierReport['moves'][number]

/** The content of the report file before this try, if it is a report of the same run. */
type Earlier = Readonly<{
  moves: ReadonlyMap<string, Moved>
  isRetry: boolean // false: this may also be the same command for another release
}>

/**
 * Returns the configuration with the id of the run, and a host that publishes what all tries of the run have done.
 * @throws PromoteError USAGE when a dry run would overwrite the report of a promotion that has not ended well.
 */
export function continueEarlier<T extends Host>(given: Config, host: T): Readonly<{ config: Config; host: T }> {
  const { report: path, rollback, dryRun } = given
  const found = path === undefined || rollback !== undefined ? undefined : readEarlier(path)
  const config = { ...given, run: given.run ?? found?.run ?? randomUUID() }
  if (found === undefined || found.run !== config.run || found.moves.length === 0) return { config, host }
  const isRetry = given.run !== undefined || found.status !== 'done'
  const moves = new Map(found.moves.map((move) => [keyOf(move.target, formatReference(move.destination)), move]))
  if (!dryRun) return { config, host: merging(host, { moves, isRetry }) }
  if (!isRetry) return { config, host }
  throw new PromoteError('USAGE', `${host.spell('report')}: ${quote(path ?? '')} says how to undo a promotion.`, {
    side: 'input',
    hint: 'That promotion has not finished. Give the dry run another path for its report.',
  })
}

function readEarlier(path: string): EarlierReport | undefined {
  try {
    return isFile(path) ? readReport(readInput(path, LARGEST_REPORT)) : undefined
  } catch {
    // A file that is not a report is overwritten, as in every other run.
    return undefined
  }
}

function merging<T extends Host>(host: T, earlier: Earlier): T {
  const merge = (report: Report) => mergeReport(report, earlier)
  const { keep } = host
  return {
    ...host,
    event: (event) => {
      if (event.event === 'image') host.event({ ...event, row: mergeRow(event.row, earlier) })
      else host.event(event.event === 'done' ? { ...event, report: merge(event.report) } : event)
    },
    publish: (report) => host.publish(merge(report)),
    ...(keep && { keep: (report: Report) => keep(merge(report)) }),
  }
}

/** Pure: the report of this try, with the tags that earlier tries have moved. */
export function mergeReport(report: Report, earlier: Earlier): Report {
  const images = report.images.map((row) => mergeRow(row, earlier))
  const own = new Set(images.map((row) => keyOf(row.target, row.destination)))
  const others = earlier.isRetry ? [...earlier.moves].filter(([key]) => !own.has(key)) : []
  return { ...report, images: [...images, ...others.map(([, move]) => rowOf(move))] }
}

function mergeRow(row: Row, { moves, isRetry }: Earlier): Row {
  const move = moves.get(keyOf(row.target, row.destination))
  // If this try failed before it read the tag, what an earlier try has read still counts.
  const isWhereItWasPut = row.previousDigest === move?.promoted || row.previousDigest === 'unknown'
  if (move === undefined || !isWhereItWasPut) return row
  const digest = row.digest ?? move.promoted
  return digest === move.promoted || isRetry ? { ...row, digest, previousDigest: move.previous } : row
}

/** The row of a tag that only an earlier try has moved. */
function rowOf({ source, destination, target, promoted, previous }: Moved): Row {
  const digests = { sourceDigest: promoted, digest: promoted, previousDigest: previous }
  const end = { status: 'unchanged', error: null, milliseconds: 0 } as const
  return tagRow({ source, destination: formatReference(destination), target, ...digests, ...end }, destination.tag)
}

function keyOf(target: string, destination: string): string {
  return `${target} ${destination}`
}
