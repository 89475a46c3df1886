import { z } from 'zod'
import { parseJson } from '../core/json.ts'
import { oneLine, quote } from '../core/text.ts'
import { type Digest, digestOf, isDigest, type TagState } from '../oci/digest.ts'
import { isTag } from '../oci/reference.ts'
import { attachedTags } from '../oci/referrer.ts'

/** The report of a dry run, which a person has approved: it names all that may be promoted, by digest. */

/** `stays`: the run moves nothing there, because the tag is at the image already or is not to be overwritten. */
export type ApprovedTag = Readonly<{ from: TagState; stays: boolean }>

/** What was approved for one image at one destination. */
export type ApprovedImage = Readonly<Omit<Planned, 'tags'>> & Readonly<{ tags: ReadonlyMap<string, ApprovedTag> }>

export type ApprovedPlan = Readonly<{
  digest: Digest // SHA-256 of the file, by which an approver recognises it
  policy?: Digest | undefined // SHA-256 of the policy file that judged it
  choices: Choices
  images: readonly ApprovedImage[]
}>

const MOST_PROBLEMS = 20 // problems beyond these are of the same kind
const FAILED = 'is not done: a plan with failures cannot be applied. Mend them and plan again'
const NO_PLAN = 'is missing: the report is of a rollback, or of an older version. Plan again'

const digest = z.string().refine(isDigest, 'is not a digest')
const previous = z.union([z.literal('unknown'), digest]).nullable()
const name = z.string()
const tag = name.refine(isTag, 'is not a tag')
const attached = z.lazy(() => z.strictObject({ digest, artifactType: name, subject: digest, tag: name.nullable() }))

/** All items, or what is wrong with the first wrong ones: a hostile file may have millions of those. */
const listOf = <T extends z.ZodType>(item: T, message?: string) =>
  z.array(z.unknown(), message).transform((items, { addIssue }): readonly z.infer<T>[] => {
    let wrong = 0
    return items.flatMap((each, index) => {
      const { data, error } = wrong < MOST_PROBLEMS ? item.safeParse(each) : {}
      if (error !== undefined) wrong += 1
      for (const issue of error?.issues ?? [])
        addIssue({ code: 'custom', message: wordsOf(issue), path: [index, ...issue.path] })
      return data === undefined ? [] : [data]
    })
  })

const includeForeign = z.union([z.boolean(), listOf(name)])
/** The options that decide what belongs to an image. */
const choices = z.strictObject({ referrers: z.boolean(), skipMissing: z.boolean(), includeForeign }, NO_PLAN)

/** The schemas are built when there is a plan: most runs have none. */
const planSchema = z.lazy(() =>
  z.strictObject({
    source: name,
    destination: name,
    target: name,
    digest,
    steps: z.array(z.unknown()),
    certain: z.boolean(),
    bytes: z.unknown(),
    tags: listOf(z.strictObject({ tag, from: previous, to: digest })),
    rules: listOf(name).optional(),
    rights: z.unknown().optional(),
    apply: z.strictObject(
      {
        source: name, // SRC and DST as the dry run was asked for them
        destination: name,
        platforms: listOf(name).nullable(),
        stays: listOf(z.strictObject({ tag, at: digest })),
        attached: listOf(attached), // to the image, at the source
        contents: digest, // of all manifests and blobs, see `contentsOf`
      },
      NO_PLAN,
    ),
  }),
)

const reportSchema = z.lazy(() =>
  z.strictObject({
    schema: z.literal('image-promote/report/v1', 'is not image-promote/report/v1: another version has made the report'),
    started: name,
    finished: name,
    run: name,
    dryRun: z.literal(true, 'is not true: only the report of a dry run can be applied'),
    status: z.literal('done', FAILED),
    policy: digest.optional(),
    plan: digest.optional(),
    choices,
    plans: listOf(planSchema, NO_PLAN),
    images: listOf(
      z.looseObject({
        source: name,
        destination: name,
        target: name,
        tag,
        digest: digest.nullable(),
        sourceDigest: digest.nullable(),
        previousDigest: previous,
        status: z.enum(['planned', 'unchanged', 'skipped'], FAILED),
      }),
    ),
  }),
)

type Planned = z.infer<typeof planSchema>
/** What a dry run says beside its plan, so that exactly this can be promoted. */
export type Applicable = Planned['apply']
export type Choices = z.infer<typeof choices>
type DryRun = z.infer<typeof reportSchema>
type Shown = DryRun['images'][number]

/**
 * Reads a plan strictly: a member that is not known may be one that limits what was approved.
 * @param note is told everything that is wrong with it, as words that follow the path of the file.
 */
export function readApprovedPlan(text: string, note: (problem: string) => void): ApprovedPlan | undefined {
  const found = problemsOf(text)
  for (const [index, problem] of found.problems.entries()) if (index < MOST_PROBLEMS) note(oneLine(problem, 500))
  if (found.problems.length > MOST_PROBLEMS) note(`and ${found.problems.length - MOST_PROBLEMS} more problems`)
  if (found.problems.length > 0 || found.data === undefined) return undefined
  const { policy, choices, plans, images } = found.data
  const order = new Map(images.map(({ target, destination }, index) => [keyOf(target, destination), index]))
  const place = (plan: Planned, tag: string) => order.get(keyOf(plan.target, named(plan, tag))) ?? 0
  const inOrder = (plan: Planned) => tagsOf(plan).sort(([a], [b]) => place(plan, a) - place(plan, b))
  const approved = plans.map((plan): ApprovedImage => ({ ...plan, tags: new Map(inOrder(plan)) }))
  return { digest: digestOf(Buffer.from(text)), policy, choices, images: approved }
}

function problemsOf(text: string): { data?: DryRun; problems: readonly string[] } {
  const json = parseJson(text)
  if (json === undefined) return { problems: ['is not JSON: give the report that a dry run has written'] }
  const { data, error } = reportSchema.safeParse(json)
  if (error === undefined) return { data, problems: [...contradictions(data), ...data.plans.flatMap(damage)] }
  return { problems: error.issues.map((issue) => `${issue.path.join('.') || 'the document'}: ${wordsOf(issue)}`) }
}

function wordsOf(issue: z.core.$ZodIssue): string {
  if (issue.code !== 'unrecognized_keys') return issue.message
  const keys = issue.keys.filter((_, at) => at < MOST_PROBLEMS)
  return `${keys.map((key) => quote(key)).join(', ')}: edited, or of a newer version`
}

/** People read the table of images, and the plans are applied: both must say the same, and name each tag once. */
function contradictions({ images, plans }: DryRun): string[] {
  const shown = new Map<string, Shown>()
  const twice = images.flatMap((row) => {
    const key = keyOf(row.target, row.destination)
    return shown.size < shown.set(key, row).size ? [] : [key]
  })
  const differ = plans.flatMap((plan) =>
    tagsOf(plan).flatMap(([tag, approved]) => {
      const key = keyOf(plan.target, named(plan, tag))
      const row = shown.get(key)
      // A second plan for the tag finds no row.
      shown.delete(key)
      return row !== undefined && isSaid(row, plan, tag, approved) ? [] : [key]
    }),
  )
  const extra = [...shown].flatMap(([key, { status }]) => (status === 'skipped' ? [] : [key]))
  return [...new Set([...twice, ...differ, ...extra])].map((key) => `images and plans do not agree about ${key}`)
}

function isSaid(row: Shown, { source, digest }: Planned, tag: string, { from, stays }: ApprovedTag): boolean {
  const isLeft = stays && from !== digest
  const said = { source, tag, sourceDigest: digest, previousDigest: from, digest: isLeft ? from : digest }
  // Of an image whose tag stays something may be missing.
  const statuses = isLeft ? ['skipped'] : stays ? ['planned', 'unchanged'] : ['planned']
  return statuses.includes(row.status) && Object.entries(said).every(([member, value]) => row[member] === value)
}

/** Anything could be attached to anything by a plan that was edited. The manifests themselves are looked at later. */
function damage({ source, destination, digest, tags, apply }: Planned): string[] {
  const wrong = apply.attached.filter(({ subject, tag }) => tag !== null && !attachedTags(subject).includes(tag))
  const elsewhere = tags.filter(({ to }) => to !== digest)
  const others = [source, apply.source].filter((text) => (/@(sha\d+:.*)$/.exec(text)?.[1] ?? digest) !== digest)
  return [
    ...others.map((text) => `${destination}: ${text} names another digest than ${digest}, which would be promoted`),
    ...wrong.map(({ tag }) => `${destination}: ${tag} is not a tag of signatures of that manifest`),
    ...elsewhere.map(({ tag, to }) => `${destination}: the tag ${tag} would move to ${to}, which is not the image`),
  ]
}

function tagsOf({ tags, apply }: Planned): (readonly [string, ApprovedTag])[] {
  const moves = tags.map(({ tag, from }) => [tag, { from, stays: false }] as const)
  return [...moves, ...apply.stays.map(({ tag, at }) => [tag, { from: at, stays: true }] as const)]
}

/** `registry.example/prod/app:1.2` with another tag. */
function named({ destination }: Planned, tag: string): string {
  return `${destination.slice(0, destination.lastIndexOf(':'))}:${tag}`
}

function keyOf(target: string, destination: string): string {
  return `${destination} (${target})`
}
