import { attachmentsAt } from '../copy/attachments.ts'
import type { CopyRun } from '../copy/copy-run.ts'
import { execute } from '../copy/execute.ts'
import { blobsOf } from '../copy/require-signed.ts'
import { asPromoteError, type PromoteError } from '../core/errors.ts'
import { checkWritable, writeWhole } from '../core/files.ts'
import { getOrAdd } from '../core/memo.ts'
import type { Secret } from '../core/secret.ts'
import { VERSION } from '../core/version.ts'
import { usage } from '../inputs/parse.ts'
import type { Manifest } from '../oci/manifest.ts'
import { fingerprint } from '../trust/keyed.ts'
import { SignerVerifier } from '../trust/keyless.ts'
import { asImage, type Signing, signSubjects, type WrittenRecord } from '../trust/missing-attachments.ts'
import { type NewAttachment, type Promotion, promotionStatement, recordFiles } from '../trust/record.ts'
import { loadSigningKey } from '../trust/signing-key.ts'
import type { SignInputs } from '../trust/trust-options.ts'
import type { Arrived, CopiedDestination } from './image.ts'
import { leavesOf } from './judge.ts'
import { forEachUnfinished, type Run, runUrl } from './run.ts'

const EMPTY = { total: 0, copied: 0, mounted: 0, present: 0 } as const

/**
 * Loads the key, and returns what signs and what writes records for other signers.
 * @throws PromoteError USAGE, IO
 */
export async function createSigner(inputs: SignInputs, run: Run): Promise<Partial<Run>> {
  const { key, as, recordFile } = inputs
  const { context, copy, config } = run
  const { env, now } = context
  const [id, actor, startedOn] = [runUrl(env), env.GITHUB_ACTOR, new Date(now()).toISOString()]
  const common = {
    run: { startedOn, ...(id && { id }), ...(actor && { actor }) },
    version: VERSION,
    policy: run.policy,
  }
  const promotionOf = ({ repository, root, source, promotion }: Arrived): Promotion => {
    const destination = repository.path === '' ? undefined : repository.store.name
    const promotedOn = new Date(now()).toISOString()
    return { ...common, ...promotion, digest: root.descriptor.digest, source, destination, promotedOn }
  }
  const records = recordFile === undefined || config.dryRun ? {} : await openRecords(recordFile, promotionOf, run)
  if (key === undefined) return records
  const signing = openSigning(inputs, key, run)
  const sign: NonNullable<Run['sign']> = (arrived) => {
    const { store, path } = arrived.repository
    const promotion = promotionOf(arrived)
    const signAs = as?.includes('/') === false ? `${as}/${path}` : (as ?? promotion.destination)
    return signOne(arrived, promotion, signAs, signing, copy).catch((thrown: unknown) => {
      throw notSigned(asPromoteError(thrown, 'destination'), store.name)
    })
  }
  return { ...records, sign, signEach: (images) => signEach(images, sign, run) }
}

function openSigning({ password, what, spell }: SignInputs, secret: Secret, { context, config }: Run): Signing {
  try {
    const key = loadSigningKey(secret, password)
    if (config.dryRun) context.log.info(`would sign as key ${fingerprint(key.publicKey)}`)
    return { key, what, verifier: new SignerVerifier() }
  } catch (thrown) {
    throw usage([`${spell('sign-key')}: ${(thrown as Error).message}`], context.secrets)
  }
}

/** Keeps what has become true until the end of the run. */
async function openRecords(path: string, promotionOf: (arrived: Arrived) => Promotion, { context }: Run) {
  await checkWritable(path.replace(/[/\\]$/, '$&1.statement.json'))
  const noted: Arrived[] = []
  return {
    note: (arrived: Arrived) => void noted.push(arrived),
    async writeRecords(copied: readonly CopiedDestination[]): Promise<void> {
      const moved = ({ tag }: PlannedTag, { outcomes }: CopiedDestination) => outcomes.get(tag)?.status === 'promoted'
      const all = [...noted, ...arrivalsOf(copied, moved).keys()].sort((a, b) => a.image - b.image)
      const files = recordFiles(path, all.map(promotionOf).map(promotionStatement))
      const written = await Promise.allSettled([...files].map((file) => writeWhole(...file)))
      // The tags have moved, and the report of that comes first.
      for (const each of written) if (each.status === 'rejected') context.log.error(asPromoteError(each.reason).message)
    },
  }
}

async function signOne(
  { repository, root, children, image }: Arrived,
  promotion: Promotion,
  signAs: string | undefined,
  signing: Signing,
  copy: CopyRun,
): Promise<WrittenRecord | null> {
  const { store, origin, path } = repository
  const subjects = signing.what === 'record' ? [root] : [...children, root]
  const write = async (subject: Manifest, attachments: readonly NewAttachment[]): Promise<void> => {
    const { source, graph, steps } = asImage(subject, attachments)
    const plan = { graph, steps, tags: [], rootByDigest: true, bytes: EMPTY, attached: [], attachedTags: new Map() }
    const route = { image, source, target: store, registry: origin, repository: path, mountFrom: undefined }
    await Promise.all(execute([{ plan, route, moved: { ...EMPTY } }], copy))
  }
  const find = attachmentsAt(store, copy.semaphore)
  return signSubjects(subjects, { promotion, signAs }, signing, { find, read: blobsOf(store, copy.semaphore), write })
}

function notSigned(error: PromoteError, name: string): PromoteError {
  if (error.code === 'CANCELLED' || error.code === 'ABANDONED' || error.code === 'INTERNAL') return error
  const message = `${name}: the promotion was not signed, and no tag was moved: ${error.message}`
  const hint = 'Let the account of the destination push attachments too: manifests by digest and tags sha256-….'
  return error.with({
    code: 'SIGNING',
    side: 'destination',
    message,
    hint: [error.hint, hint].filter(Boolean).join(' '),
  })
}

/** Signs what has arrived, before any of its tags moves. */
async function signEach(images: readonly CopiedDestination[], sign: NonNullable<Run['sign']>, run: Run) {
  const arrivals = [...arrivalsOf(images, () => true)]
  const running = new Map<Arrived, Promise<WrittenRecord | null>>()
  return forEachUnfinished(images, run, async (image) => {
    const [arrived] = arrivals.find(([, same]) => same.includes(image)) ?? []
    if (arrived !== undefined) image.job.record = await getOrAdd(running, arrived, () => sign(arrived))
    return image
  })
}

type PlannedTag = CopiedDestination['plan']['tags'][number]

/** Images with one digest at one destination have one record, of all their tags that are wanted. */
function arrivalsOf(
  images: readonly CopiedDestination[],
  isWanted: (tag: PlannedTag, image: CopiedDestination) => boolean,
): ReadonlyMap<Arrived, readonly CopiedDestination[]> {
  const groups = new Map<string, CopiedDestination[]>()
  for (const image of images)
    getOrAdd(groups, `${image.repository.store.name}@${image.plan.graph.root.descriptor.digest}`, () => []).push(image)
  const arrivals = [...groups.values()].flatMap((same) => {
    const tags = same.flatMap((each) => each.plan.tags.filter((tag) => isWanted(tag, each)))
    return same
      .filter((_, at) => at === 0 && tags.length > 0)
      .map(({ repository, plan, job, route }) => {
        const moves = tags.map(({ tag, from }) => ({ tag, previous: from }))
        const promotion = { action: 'promote', tags: moves, verified: job.judgement?.verified ?? [] } as const
        const source = job.pair.source.layout === undefined ? route.source.name : undefined
        const { root } = plan.graph
        return [
          { repository, root, children: leavesOf(plan.graph), source, promotion, image: job.number },
          same,
        ] as const
      })
  })
  return new Map(arrivals)
}
