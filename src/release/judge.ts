import { readBlob } from '../copy/blob-reader.ts'
import { type Graph, manifestKey } from '../copy/graph.ts'
import { PromoteError } from '../core/errors.ts'
import { usage } from '../inputs/parse.ts'
import type { Descriptor, Manifest } from '../oci/manifest.ts'
import { type Examined, examine, type ReadBlob, type Subject } from '../trust/examine.ts'
import { SignerVerifier } from '../trust/keyless.ts'
import { loadPolicy, type PolicyInputs } from '../trust/load-policy.ts'
import { findingLine, judge } from '../trust/policy.ts'
import type { DiscoveredImage, ImageJob } from './image.ts'
import type { Run } from './run.ts'

/**
 * What judges each image for each destination, by what was discovered: the manifests that are copied, and what was attached
 * to them at that time. Nothing is listed again, so a registry that shows another list later changes nothing.
 * @throws PromoteError USAGE with everything that is wrong with the policy.
 */
export async function createJudge(inputs: PolicyInputs, run: Run): Promise<Pick<Run, 'judge' | 'policy'>> {
  const { config, context, copy } = run
  const verifier = new SignerVerifier()
  const problems: string[] = []
  const note = (option: string, problem: string) => problems.push(`${inputs.spell(option)}: ${problem}`)
  const policy = await loadPolicy(inputs, verifier, note)
  if (policy === undefined) throw usage(problems, context.secrets)
  // An image that goes to several destinations, or has several tags, is examined once.
  const known = new Map<Graph, Promise<Examined>>()
  const judgeImage = async (job: ImageJob, { pair, source, graph }: DiscoveredImage): Promise<void> => {
    const { store, path } = source
    const read: ReadBlob = (blob) => copy.semaphore(() => readBlob(store, blob)).catch(unlessMissing)
    const { root } = graph
    const subject = subjectIn(graph.judged ?? graph)
    const examined =
      known.get(graph) ?? examine(policy, verifier, subject(root), leavesOf(root, graph).map(subject), read)
    known.set(graph, examined)
    const isOwn = pair.source.host === undefined
    const host = isOwn ? store.name.replace(`/${path}`, '') : (config.source.registry?.host ?? '')
    const registry = pair.source.layout === undefined ? host : undefined
    const candidate = { source: store.name, registry, destination: job.target, ...(await examined) }
    const { findings, verified, refusal } = judge(policy, candidate, context.now())
    job.judgement = { verified, rules: findings.map(findingLine) }
    for (const rule of job.judgement.rules) context.log.info(`${job.source} → ${job.target}: ${rule}`)
    if (refusal !== undefined) {
      const { code, message, hint } = refusal
      throw new PromoteError(code, message, { side: 'source', hint })
    }
  }
  return { judge: judgeImage, ...(policy.digest && { policy: policy.digest }) }
}

function subjectIn({ attached, nodes }: Graph): (manifest: Manifest) => Subject {
  return (manifest) => {
    const own = attached.filter(({ subject }) => subject === manifest.descriptor.digest)
    const attachments = own.flatMap(({ digest, tag }) => {
      const found = nodes.get(manifestKey(digest, tag))?.manifest
      return found === undefined ? [] : [{ manifest: found, tag }]
    })
    return { manifest, attachments }
  }
}

/** The images of an index that are promoted, without BuildKit's attestations, which no machine runs. */
export function leavesOf(index: Manifest, graph: Graph): readonly Manifest[] {
  const children = index.links.filter(({ role, descriptor }) => role === 'child' && !isAttestation(descriptor))
  return children.flatMap(({ descriptor }) => {
    const { manifest } = graph.nodes.get(manifestKey(descriptor.digest)) ?? {}
    if (manifest === undefined) return []
    return manifest.shape === 'index' ? leavesOf(manifest, graph) : [manifest]
  })
}

/** By its platform too: what is said to be an attestation, and runs all the same, is a child. */
function isAttestation({ annotations, platform }: Descriptor): boolean {
  const type = annotations?.['vnd.docker.reference.type']
  return type === 'attestation-manifest' && platform?.os === 'unknown' && platform.architecture === 'unknown'
}

/** An attachment whose content is not there proves nothing. */
export function unlessMissing(thrown: unknown): undefined {
  if (thrown instanceof PromoteError && thrown.code === 'NOT_FOUND') return undefined
  throw thrown
}
