import { createFinder } from '../copy/attachments.ts'
import { readBlob } from '../copy/blob-reader.ts'
import { createBudget } from '../copy/budget.ts'
import type { CopyRun } from '../copy/copy-run.ts'
import { execute } from '../copy/execute.ts'
import { type Key, manifestKey, type Node } from '../copy/graph.ts'
import { type Plan, published, type Step } from '../copy/plan.ts'
import type { Source } from '../copy/store.ts'
import { bodyOf } from '../core/async.ts'
import { asPromoteError, PromoteError } from '../core/errors.ts'
import { VERSION } from '../core/version.ts'
import type { SignInputs } from '../inputs/config.ts'
import { usage } from '../inputs/parse.ts'
import type { Manifest } from '../oci/manifest.ts'
import { runUrl } from '../openshift/annotate.ts'
import type { ReadBlob } from '../trust/examine.ts'
import { fingerprint } from '../trust/keyed.ts'
import { SignerVerifier } from '../trust/keyless.ts'
import { missingAttachments, type Signing, type WrittenRecord } from '../trust/missing-attachments.ts'
import type { NewAttachment, Promotion } from '../trust/record.ts'
import { loadSigningKey } from '../trust/signing-key.ts'
import type { Arrived, CopiedDestination } from './image.ts'
import { leavesOf, unlessMissing } from './judge.ts'
import { forEachUnfinished, type Run } from './run.ts'

const EMPTY = { total: 0, copied: 0, mounted: 0, present: 0 } as const

/**
 * Loads the key, and returns what signs.
 * @throws PromoteError USAGE
 */
export function createSigner({ key, password, what, as, spell }: SignInputs, run: Run): Pick<Run, 'sign'> {
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
  return {
    sign: (arrived) => {
      const { repository, root, source, promotion } = arrived
      const destination = repository.path === '' ? undefined : repository.store.name
      const promotedOn = new Date(context.now()).toISOString()
      const { digest } = root.descriptor
      const whole: Promotion = { ...common, ...promotion, digest, source, destination, promotedOn }
      const signAs = as?.includes('/') === false ? `${as}/${repository.path}` : (as ?? destination)
      return signOne(arrived, whole, signAs, signing, copy).catch((thrown: unknown) => {
        throw explain(asPromoteError(thrown, 'destination'), repository.store.name)
      })
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
  const find = createFinder(store, copy.semaphore, true, createBudget(store.name, { bytes: 0, links: 0 }))
  const read: ReadBlob = (blob) => copy.semaphore(() => readBlob(store, blob)).catch(unlessMissing)
  let record: WrittenRecord | null = null
  for (const subject of signing.what === 'record' ? [root] : [...children, root]) {
    const found = await find(subject.descriptor.digest)
    const attachments = found.map(({ manifest, tag = null }) => ({ manifest, tag }))
    const wanted = { subject, attachments, promotion, signAs, isRoot: subject === root }
    const missing = await missingAttachments(wanted, signing, read)
    const source = sourceOf(missing.attachments)
    const route = { image, source, target: store, registry: origin, repository: path, mountFrom: undefined }
    await Promise.all(execute([{ plan: planOf(subject, missing.attachments), route, moved: { ...EMPTY } }], copy))
    record = missing.record
  }
  return record
}

/** Signs what has arrived, before any of its tags moves. Images with one digest at one destination have one record. */
export async function signEach(images: readonly CopiedDestination[], run: Run): Promise<CopiedDestination[]> {
  const { sign = async () => null } = run
  const keyOf = ({ repository, plan }: CopiedDestination) =>
    `${repository.store.name}@${plan.graph.root.descriptor.digest}`
  const running = new Map<string, Promise<WrittenRecord | null>>()
  return forEachUnfinished(images, run, async (image) => {
    const { repository, plan, job, route } = image
    const same = images.filter((each) => keyOf(each) === keyOf(image))
    const tags = same.flatMap((each) => each.plan.tags.map(({ tag, from }) => ({ tag, previous: published(from) })))
    if (tags.length === 0) return image
    const { root } = plan.graph
    const verified = job.judgement?.verified ?? []
    const source = job.pair.source.layout === undefined ? route.source.name : undefined
    const promotion = { action: 'promote', tags, verified } as const
    const children = leavesOf(root, plan.graph)
    const arrived = { repository, root, children, source, promotion, image: job.number }
    const signed = running.get(keyOf(image)) ?? sign(arrived)
    running.set(keyOf(image), signed)
    job.record = await signed
    return image
  })
}

/** The new attachments as an image's: blobs, then manifests, by digest or merged into their tags. */
function planOf(root: Manifest, attachments: readonly NewAttachment[]): Plan {
  const nodes = new Map<Key, Node>()
  const why = 'new: signed by this promotion'
  const attachedTo = root.descriptor.digest
  for (const { tag, manifest, blobs } of attachments) {
    const needs = blobs.map(({ descriptor }): Key => `blob ${descriptor.digest}`)
    for (const { descriptor } of blobs) {
      const key: Key = `blob ${descriptor.digest}`
      nodes.set(key, { key, kind: 'blob', descriptor, needs: [] })
    }
    const { descriptor } = manifest
    const key = manifestKey(descriptor.digest, tag)
    nodes.set(key, { key, kind: 'manifest', descriptor, manifest, needs, attachedTo, ...(tag && { tag }) })
  }
  const steps = [...nodes].map(([key, node]): [Key, Step] => [
    key,
    { do: node.kind === 'blob' ? 'copy' : 'push', node, why },
  ])
  const graph = { root, nodes, platforms: [], attached: [] }
  const attachedTags = new Map()
  return { graph, steps: new Map(steps), tags: [], rootByDigest: true, bytes: EMPTY, attached: [], attachedTags }
}

function sourceOf(attachments: readonly NewAttachment[]): Source {
  const blobs = new Map(
    attachments.flatMap((each) => each.blobs.map(({ descriptor, bytes }) => [descriptor.digest, bytes])),
  )
  const refuse = async () => {
    throw new PromoteError('INTERNAL', 'a new attachment has blobs alone')
  }
  const blob: Source['blob'] = async ({ digest }, offset = 0) =>
    bodyOf((blobs.get(digest) ?? new Uint8Array()).subarray(offset))
  return { name: 'the signature', resolve: refuse, manifest: refuse, referrers: refuse, find: refuse, blob }
}

function explain(error: PromoteError, name: string): PromoteError {
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
