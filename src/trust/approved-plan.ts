import { z } from 'zod'
import { parseJson } from '../core/json.ts'
import { quote } from '../core/text.ts'
import { type Digest, digestOf, isDigest, type TagState } from '../oci/digest.ts'
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
const attached = z.lazy(() => z.strictObject({ digest, artifactType: name, subject: digest, tag: name.nullable() }))
const includeForeign = z.union([z.boolean(), z.array(name).readonly()])
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
    tags: z.array(z.strictObject({ tag: name, from: previous, to: digest })),
    rules: z.array(name).optional(),
    rights: z.unknown().optional(),
    apply: z.strictObject(
      {
        source: name, // SRC and DST as the dry run was asked for them
        destination: name,
        platforms: z.array(name).nullable(),
        stays: z.array(z.strictObject({ tag: name, at: digest })),
        attached: z.array(attached).readonly(), // to the image, at the source
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
    plans: z.array(planSchema, NO_PLAN),
    images: z.array(
      z.looseObject({
        destination: name,
        target: name,
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

/**
 * Reads a plan strictly: a member that is not known may be one that limits what was approved.
 * @param note is told everything that is wrong with it, as words that follow the path of the file.
 */
export function readApprovedPlan(text: string, note: (problem: string) => void): ApprovedPlan | undefined {
  const found = problemsOf(text)
  for (const [index, problem] of found.problems.entries()) if (index < MOST_PROBLEMS) note(problem)
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
  const problems = error.issues.map((issue) => {
    const extra = issue.code === 'unrecognized_keys' ? issue.keys.map((key) => quote(key)) : []
    const said = extra.length > 0 ? `${extra.join(', ')}: edited, or of a newer version` : issue.message
    return `${issue.path.join('.') || 'the document'}: ${said}`
  })
  return { problems }
}

/** People read the table of images, and the plans are applied: both must say the same, and name each tag once. */
function contradictions({ images, plans }: DryRun): string[] {
  const shown = images.map(({ target, destination, sourceDigest, previousDigest, status }) => {
    const key = JSON.stringify([keyOf(target, destination), sourceDigest, previousDigest])
    return { key, isOptional: status === 'skipped' }
  })
  const wanted = plans.flatMap((plan) =>
    tagsOf(plan).map(([tag, { from }]) => JSON.stringify([keyOf(plan.target, named(plan, tag)), plan.digest, from])),
  )
  const rows = new Set(shown.map(({ key }) => key))
  const known = new Set<string>()
  const differ = wanted.filter((key) => !rows.has(key) || known.has(key) || !known.add(key))
  const extra = shown.filter(({ key, isOptional }) => !isOptional && !known.has(key)).map(({ key }) => key)
  return [...new Set([...differ, ...extra])].map((key) => `images and plans do not agree about ${JSON.parse(key)[0]}`)
}

/** Anything could be attached to anything by a plan that was edited. The manifests themselves are looked at later. */
function damage({ destination, digest, tags, apply }: Planned): string[] {
  const wrong = apply.attached.filter(({ subject, tag }) => tag !== null && !attachedTags(subject).includes(tag))
  const elsewhere = tags.filter(({ to }) => to !== digest)
  return [
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
