import { z } from 'zod'
import { parseJson } from '../core/json.ts'
import { type Digest, isDigest } from '../oci/digest.ts'
import { parseReference, type Reference } from '../oci/reference.ts'

/** One tag that a promotion moved, or was about to move when it was killed. */
export type Undo = Readonly<{
  destination: Reference & Readonly<{ tag: string }> // as the report has it: with the registry's host
  target: string // name of the destination in the report
  promoted: Digest // what the promotion wrote
  previous: Digest | null | 'unknown' // null: the tag did not exist. `unknown`: the promotion could not read it
}>

export const LARGEST_REPORT = 64 * 1024 * 1024 // bytes of a report: a row has about 1 KiB, and a list 10,000 images

/** The members of `image-promote/report/v1` that are needed. Later versions may add others. */
const reportSchema = z.lazy(() =>
  z.looseObject({
    schema: z.literal('image-promote/report/v1'),
    dryRun: z.boolean(),
    status: z.string(),
    run: z.string().optional(),
    images: z.array(
      z.looseObject({
        source: z.string().default(''),
        destination: z.string(),
        target: z.string(),
        tag: z.string(),
        digest: z.string().refine(isDigest).nullable(),
        sourceDigest: z.string().refine(isDigest).nullish(),
        previousDigest: z.union([z.literal('unknown'), z.string().refine(isDigest)]).nullable(),
        status: z.string(),
        error: z.unknown().optional(),
      }),
    ),
  }),
)

/** What a report says about the tags that were moved. */
export type EarlierReport = ReturnType<typeof readReport>

/**
 * Reads which tags a promotion moved: rows whose tag has another digest than before, by this try or an earlier one.
 * @throws Error whose message goes on a sentence: "is not a report of image-promote: …".
 */
export function readReport(text: string) {
  const json = parseJson(text)
  if (json === undefined) throw new Error('is not JSON')
  const parsed = reportSchema.safeParse(json)
  if (!parsed.success) {
    const { path, message } = parsed.error.issues[0] as z.core.$ZodIssue
    throw new Error(`is not a report of image-promote: ${path.join('.') || 'the document'}: ${message}`)
  }
  const { run, dryRun, status, images } = parsed.data
  const moves = images.flatMap((row): (Undo & { source: string })[] => {
    // The tag of an unknown row may have moved. A rollback puts back and moves nothing: its rows have no error.
    const promoted = row.digest ?? (row.status === 'unknown' ? row.sourceDigest : null) ?? null
    const isPut = (row.status === 'planned' && status !== 'moving') || (row.status === 'reverted' && !row.error)
    if (dryRun || isPut || promoted === null || promoted === row.previousDigest) return []
    const { tag, target, source, previousDigest: previous } = row
    const reference = parseReference(row.destination)
    if (reference.tag !== tag) throw new Error(`is damaged: ${row.destination} does not have the tag ${tag}`)
    return [{ source, destination: { ...reference, tag }, target, promoted, previous }]
  })
  return { run, dryRun, status, moves }
}

/** The tags that a rollback puts back. @throws Error as `readReport`, also when there is nothing to put back. */
export function readRollback(text: string): Undo[] {
  const { dryRun, moves } = readReport(text)
  if (dryRun) throw new Error('is the report of a dry run, which has changed nothing')
  if (moves.length === 0) throw new Error('has no tag that was moved: there is nothing to put back')
  return moves.map(({ source: _, ...undo }) => undo)
}
