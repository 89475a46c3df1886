import { getOrAdd } from '../core/memo.ts'
import { parsePlatform } from '../oci/platform.ts'
import { type ApprovedImage, readApprovedPlan } from '../trust/approved-plan.ts'
import type { Config, ImagePair } from './config.ts'
import { parsePair } from './images.ts'
import type { InputReader } from './reader.ts'
import { LARGEST_REPORT } from './rollback-report.ts'

/** The images of an approved plan, and the options that decide what belongs to them, which the plan has, too. */
export function approvedPlan(inputs: InputReader): Readonly<{ pairs: ImagePair[]; choices: Partial<Config> }> {
  const note = (problem: string) => inputs.problem('plan', problem)
  const plan = inputs.file('plan', (text) => readApprovedPlan(text, note), LARGEST_REPORT)
  if (plan === undefined) return { pairs: [], choices: {} }
  const isJudged = plan.policy !== undefined || plan.images.some(({ rules }) => rules !== undefined)
  if (isJudged && !['policy', 'signer-key', 'signer-issuer'].some((name) => inputs.has(name)))
    note(`was judged by a policy, and is judged again: give ${inputs.spell('policy')}`)
  return { pairs: inputs.parsed('plan', () => pairsOf(plan.images)) ?? [], choices: { plan, ...plan.choices } }
}

/** One pair for each image, with what was approved for each destination. @throws Error that says what is wrong. */
function pairsOf(images: readonly ApprovedImage[]): ImagePair[] {
  const pairs = new Map<string, ImagePair & { approved: Map<string, ApprovedImage> }>()
  for (const image of images) {
    const { apply, target, digest } = image
    const { source, destination, platforms } = apply
    const pair = parsePair(`${source}=${destination}`)
    if ('select' in pair) throw new Error(`${source} names no image`)
    const made = () => ({ ...pair, platforms: platforms?.map(parsePlatform), approved: new Map() })
    getOrAdd(pairs, JSON.stringify([source, destination, platforms, digest]), made).approved.set(target, image)
  }
  return [...pairs.values()]
}
