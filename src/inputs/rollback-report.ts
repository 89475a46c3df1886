import { z } from 'zod'
import { type Digest, isDigest } from '../oci/digest.ts'
import { parseReference, type Reference } from '../oci/reference.ts'

/** One tag that a promotion moved, or was about to move when it was killed. */
export type Undo = Readonly<{
  /** As the report has it: with the registry's host. */
  destination: Reference & Readonly<{ tag: string }>
  /** Name of the destination in the report. */
  target: string
  /** What the promotion wrote. */
  promoted: Digest
  /** Null: the tag did not exist. `unknown`: the promotion could not read it. */
  previous: Digest | null | 'unknown'
}>

/** What is needed of `image-promote/report/v1`; members that later versions add do no harm. */
const reportSchema = z.lazy(() =>
  z.looseObject({
    schema: z.literal('image-promote/report/v1'),
    dryRun: z.boolean(),
    status: z.string(),
    images: z.array(
      z.looseObject({
        destination: z.string(),
        target: z.string(),
        tag: z.string(),
        digest: z.string().refine(isDigest).nullable(),
        sourceDigest: z.string().refine(isDigest).nullish(),
        previousDigest: z.union([z.literal('unknown'), z.string().refine(isDigest)]).nullable(),
        status: z.string(),
      }),
    ),
  }),
)

/**
 * What a report says can be undone: rows whose tag has another digest than before.
 * @throws Error whose message goes on a sentence: "is not a report of image-promote: …".
 */
export function readRollback(text: string): Undo[] {
  const parsed = reportSchema.safeParse(parseJson(text))
  if (!parsed.success) {
    const { path, message } = parsed.error.issues[0] as z.core.$ZodIssue
    throw new Error(`is not a report of image-promote: ${path.join('.') || 'the document'}: ${message}`)
  }
  const { dryRun, status, images } = parsed.data
  if (dryRun) throw new Error('is the report of a dry run, which has changed nothing')
  const undone = images.flatMap((row): Undo[] => {
    // A failed row has a digest when its tag has moved all the same; that of an unknown one may have.
    const moved = ['promoted', 'failed', 'unknown', ...(status === 'moving' ? ['planned'] : [])].includes(row.status)
    const promoted = row.digest ?? (row.status === 'unknown' ? row.sourceDigest : null) ?? null
    if (!moved || promoted === null || promoted === row.previousDigest) return []
    const { tag, target, previousDigest: previous } = row
    const reference = parseReference(row.destination)
    if (reference.tag !== tag) throw new Error(`is damaged: ${row.destination} does not have the tag ${tag}`)
    return [{ destination: { ...reference, tag }, target, promoted, previous }]
  })
  if (undone.length === 0) throw new Error('has no tag that was moved: there is nothing to put back')
  return undone
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new Error('is not JSON')
  }
}
