import { type Graph, manifestKey } from '../copy/graph.ts'
import { blobsOf } from '../copy/require-signed.ts'
import { PromoteError } from '../core/errors.ts'
import { getOrAdd } from '../core/memo.ts'
import { usage } from '../inputs/parse.ts'
import type { Manifest } from '../oci/manifest.ts'
import { type Examined, examine, leavesBelow, subjectIn } from '../trust/examine.ts'
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
export async function createJudge(inputs: PolicyInputs, run: Run): Promise<Pick<Run, 'judge' | 'policy' | 'signers'>> {
  const { config, context, copy } = run
  const verifier = new SignerVerifier()
  const problems: string[] = []
  const note = (option: string, problem: string) => problems.push(`${inputs.spell(option)}: ${problem}`)
  const policy = await loadPolicy(inputs, verifier, note)
  if (policy === undefined) throw usage(problems, context.secrets)
  // An image that goes to several destinations, or has several tags, is examined once.
  const known = new Map<Graph, Promise<Examined>>()
  const judgeImage = async (job: ImageJob, image: DiscoveredImage): Promise<DiscoveredImage> => {
    const { pair, source, graph } = image
    const { store, path } = source
    const read = blobsOf(store, copy.semaphore)
    const { root } = graph
    const { attached, nodes } = graph.judged ?? graph
    const subject = subjectIn(attached, (digest, tag) => nodes.get(manifestKey(digest, tag))?.manifest)
    const examineGraph = () => examine(policy, verifier, subject(root), leavesOf(graph).map(subject), read)
    const examined = getOrAdd(known, graph, examineGraph)
    const isOwn = pair.source.host === undefined
    const host = isOwn ? store.name.replace(`/${path}`, '') : (config.source.registry?.host ?? '')
    const registry = pair.source.layout === undefined ? host : undefined
    const candidate = { source: store.name, registry, destination: job.target, ...(await examined) }
    const { findings, verified, refusal } = judge(policy, candidate, context.now())
    job.judgement = { verified, rules: findings.map(findingLine) }
    for (const rule of job.judgement.rules) context.log.info(`${job.source} → ${job.target}: ${rule}`)
    if (refusal !== undefined)
      throw new PromoteError(refusal.code, refusal.message, { side: 'source', hint: refusal.hint })
    return image
  }
  return { judge: judgeImage, signers: policy.signers, ...(policy.digest && { policy: policy.digest }) }
}

/** The images of an index that are promoted. */
export function leavesOf({ root, nodes }: Graph): readonly Manifest[] {
  return leavesBelow(root, (digest) => nodes.get(manifestKey(digest))?.manifest)
}
