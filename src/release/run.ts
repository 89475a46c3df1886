import type { Held } from '../copy/budget.ts'
import type { CopyRun } from '../copy/copy-run.ts'
import type { Graph } from '../copy/graph.ts'
import { Platforms } from '../copy/graph.ts'
import { createSemaphore } from '../copy/semaphore.ts'
import type { Context } from '../core/context.ts'
import { asPromoteError, PromoteError } from '../core/errors.ts'
import type { Config } from '../inputs/config.ts'
import type { Digest } from '../oci/digest.ts'
import type { Listener } from '../report/model.ts'
import type { WrittenRecord } from '../trust/missing-attachments.ts'
import type { Policy } from '../trust/policy-file.ts'
import type { Arrived, CopiedDestination, DiscoveredImage, ImageJob, Reached } from './image.ts'
import { rowsOf } from './rows.ts'

/** What all images of a run share. */
export type Run = Readonly<{
  config: Config
  host: Listener
  context: Context
  copy: CopyRun
  /** What was discovered, by source, digest and platforms. */
  graphs: Map<string, Promise<Graph>>
  held: Held
  /** `first`: the first failure. With fail-fast nothing begins after it. */
  failure: { first?: PromoteError }
  /** With a policy it throws when the image may not go to the destination of the job. */
  judge: (job: ImageJob, image: DiscoveredImage) => Promise<DiscoveredImage>
  /** Set with a key: writes the record and the signature of an image that has arrived. */
  sign?: (arrived: Arrived) => Promise<WrittenRecord | null>
  signEach: (images: CopiedDestination[]) => Promise<CopiedDestination[]>
  /** Set with a file for records: is told what has become true; `writeRecords` writes it. */
  note?: ((arrived: Arrived) => void) | undefined
  writeRecords?: (copied: readonly CopiedDestination[]) => Promise<void>
  /** SHA-256 of the policy file. */
  policy?: Digest
  signers?: Policy['signers']
}>

const WITHOUT_TRUST: Pick<Run, 'signEach' | 'judge'> = {
  signEach: async (images) => images,
  judge: async (_, image) => image,
}

export function createRun(config: Config, host: Listener, context: Context): Run {
  const failure: Run['failure'] = {}
  const check = () => {
    if (config.failFast && failure.first !== undefined) throw abandoned('not begun', failure.first)
  }
  const copy: CopyRun = {
    context,
    semaphore: createSemaphore(config.jobs),
    retries: config.retries,
    mountSources: new Map(),
    tagWrites: new Map(),
    platforms: new Platforms(),
    emit: host.event.bind(host),
    check,
  }
  return { config, host, context, copy, graphs: new Map(), held: { bytes: 0, links: 0 }, failure, ...WITHOUT_TRUST }
}

export function unfinished<T extends Reached>(images: readonly T[]): readonly T[] {
  return images.filter(({ job }) => job.rows === undefined)
}

/**
 * Takes all unfinished images through a stage, side by side. An image that fails is finished with its error.
 * @returns what the stage returned for the others, in their order.
 */
export async function forEachUnfinished<T extends Reached, R>(
  images: readonly T[],
  run: Run,
  stage: (image: T) => Promise<R>,
): Promise<R[]> {
  const results = unfinished(images).map(async (image): Promise<R[]> => {
    try {
      run.copy.check?.()
      return [await stage(image)]
    } catch (thrown) {
      markFailed(image, thrown, run)
      return []
    }
  })
  return (await Promise.all(results)).flat(1) as R[]
}

/** Makes the rows of an image, once, and reports them. */
export function finish(image: Reached, { config, context, copy, host }: Run, error?: PromoteError): void {
  const { job } = image
  if (job.rows !== undefined) return
  const { dryRun } = config
  job.rows = rowsOf(image, error, { dryRun, platforms: copy.platforms, now: context.now() })
  for (const row of job.rows) host.event({ event: 'image', image: job.number, images: job.images, row })
}

export function markFailed(image: Reached, thrown: unknown, run: Run): void {
  finish(image, run, noteFailure(asPromoteError(thrown), image.job.target, run))
}

/** @returns the error, which names the destination if it is the one that failed. */
export function noteFailure(error: PromoteError, target: string, { failure }: Run): PromoteError {
  const named = error.side === 'destination' ? error.with({ target }) : error
  if (error.code !== 'ABANDONED') failure.first ??= named
  return named
}

/** @param what `not begun`, `not moved`, … */
export function abandoned(what: string, because: PromoteError): PromoteError {
  const message = `${what}, because another part of the promotion failed: ${because.message}`
  // A stopped run is one event, whatever each of its images waited for.
  const code = because.code === 'CANCELLED' ? 'CANCELLED' : 'ABANDONED'
  return new PromoteError(code, message, { cause: because })
}

/** Page of the run in GitHub Actions, GitLab or Jenkins; in Tekton `namespace/name` of the TaskRun. */
export function runUrl(env: Readonly<Record<string, string | undefined>>): string | undefined {
  const { GITHUB_SERVER_URL: server, GITHUB_REPOSITORY: repository, GITHUB_RUN_ID: id } = env
  const github = server && repository && id ? `${server}/${repository}/actions/runs/${id}` : undefined
  const candidates = [github, env.CI_JOB_URL, env.BUILD_URL]
  const page = candidates.find((url) => url !== undefined && url.length <= 500 && /^https?:\/\/[^\s@]+$/.test(url))
  return (
    page ?? /^[a-z0-9-]+\/[a-z0-9.-]+$/.exec(`${env.IMAGE_PROMOTE_NAMESPACE}/${env.IMAGE_PROMOTE_TASK_RUN ?? ''}`)?.[0]
  )
}
