import { attachmentsAt } from '../copy/attachments.ts'
import type { CopyRun } from '../copy/copy-run.ts'
import { execute } from '../copy/execute.ts'
import { blobsOf } from '../copy/require-signed.ts'
import { asPromoteError } from '../core/errors.ts'
import { getOrAdd } from '../core/memo.ts'
import { VERSION } from '../core/version.ts'
import { usage } from '../inputs/parse.ts'
import type { Manifest } from '../oci/manifest.ts'
import { runUrl } from '../openshift/annotate.ts'
import { fingerprint } from '../trust/keyed.ts'
import { SignerVerifier } from '../trust/keyless.ts'
import { asImage, notSigned, type Signing, signSubjects, type WrittenRecord } from '../trust/missing-attachments.ts'
import type { NewAttachment, Promotion } from '../trust/record.ts'
import { loadSigningKey } from '../trust/signing-key.ts'
import type { SignInputs } from '../trust/trust-options.ts'
import type { Arrived, CopiedDestination } from './image.ts'
import { leavesOf } from './judge.ts'
import { forEachUnfinished, type Run } from './run.ts'

const EMPTY = { total: 0, copied: 0, mounted: 0, present: 0 } as const

/**
 * Loads the key, and returns what signs.
 * @throws PromoteError USAGE
 */
export function createSigner({ key, password, what, as, spell }: SignInputs, run: Run): Pick<Run, 'sign' | 'signEach'> {
  const { context, config, copy, policy } = run
  let signing: Signing
  try {
    signing = { key: loadSigningKey(key, password), what, verifier: new SignerVerifier() }
  } catch (thrown) {
    throw usage([`${spell('sign-key')}: ${(thrown as Error).message}`], context.secrets)
  }
  if (config.dryRun) context.log.info(`would sign as key ${fingerprint(signing.key.publicKey)}`)
  const actor = context.env.GITHUB_ACTOR
  const id = runUrl(context.env)
  const startedOn = new Date(context.now()).toISOString()
  const common = { run: { startedOn, ...(id && { id }), ...(actor && { actor }) }, version: VERSION, policy }
  const sign: NonNullable<Run['sign']> = (arrived) => {
    const { repository, root, source, promotion } = arrived
    const destination = repository.path === '' ? undefined : repository.store.name
    const promotedOn = new Date(context.now()).toISOString()
    const { digest } = root.descriptor
    const whole: Promotion = { ...common, ...promotion, digest, source, destination, promotedOn }
    const signAs = as?.includes('/') === false ? `${as}/${repository.path}` : (as ?? destination)
    return signOne(arrived, whole, signAs, signing, copy).catch((thrown: unknown) => {
      throw notSigned(asPromoteError(thrown, 'destination'), repository.store.name)
    })
  }
  return { sign, signEach: (images) => signEach(images, sign, run) }
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

/** Signs what has arrived, before any of its tags moves. Images with one digest at one destination have one record. */
async function signEach(
  images: readonly CopiedDestination[],
  sign: NonNullable<Run['sign']>,
  run: Run,
): Promise<CopiedDestination[]> {
  const keyOf = ({ repository, plan }: CopiedDestination) =>
    `${repository.store.name}@${plan.graph.root.descriptor.digest}`
  const running = new Map<string, Promise<WrittenRecord | null>>()
  return forEachUnfinished(images, run, async (image) => {
    const { repository, plan, job, route } = image
    const same = images.filter((each) => keyOf(each) === keyOf(image))
    const tags = same.flatMap((each) => each.plan.tags.map(({ tag, from }) => ({ tag, previous: from })))
    if (tags.length === 0) return image
    const { root } = plan.graph
    const verified = job.judgement?.verified ?? []
    const source = job.pair.source.layout === undefined ? route.source.name : undefined
    const promotion = { action: 'promote', tags, verified } as const
    const children = leavesOf(plan.graph)
    const arrived = { repository, root, children, source, promotion, image: job.number }
    job.record = await getOrAdd(running, keyOf(image), () => sign(arrived))
    return image
  })
}
