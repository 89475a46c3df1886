import type { Digest } from '../../../src/oci/digest.ts'
import type { Descriptor, Manifest } from '../../../src/oci/manifest.ts'
import { type Attachment, readEvidence, type VerifiedSigner } from '../../../src/trust/evidence.ts'
import { SignerVerifier } from '../../../src/trust/keyless.ts'
import {
  type Candidate,
  type CheckedEvidence,
  type CheckedManifest,
  findingLine,
  judge,
} from '../../../src/trust/policy.ts'
import { type Policy, parsePolicy } from '../../../src/trust/policy-file.ts'

/** Images with evidence whose verification is decided by the test. */

export const NOW = Date.UTC(2026, 10, 27, 12)
export const DAY = 24 * 3_600_000
export const digest = (letter: string): Digest => `sha256:${letter.repeat(64)}`
export const ago = (days: number): string => new Date(NOW - days * DAY).toISOString()

/** By a key of that name. */
export const key = (name: string): VerifiedSigner => {
  return { method: 'key', key: Buffer.from(name).toString('hex').padEnd(64, '0').slice(0, 64) }
}

/** Who signed: the names of the policy's signers that it counts for. All others find another key. */
export type By = string | Readonly<Record<string, VerifiedSigner>>

function evidence(kind: CheckedEvidence['kind'], by: By, attachment: Digest): CheckedEvidence {
  const signers = Object.entries(typeof by === 'string' ? { [by]: key(by) } : by)
  const verdicts = new Map(signers.map(([name, signer]) => [name, { signer }] as const))
  const refusal = { reason: 'OTHER_KEY', message: `${attachment}: is signed by another key`, attachment } as const
  return {
    kind,
    form: 'bundle',
    attachment,
    predicateType: undefined,
    predicate: undefined,
    names: [],
    verdicts: { get: (name: string) => verdicts.get(name) ?? { refusal } } as CheckedEvidence['verdicts'],
  }
}

export function signature(by: By, names: readonly string[] = []): CheckedEvidence {
  return { ...evidence('signature', by, digest('5')), names }
}

export function attestation(by: By, predicateType: string, predicate: unknown = {}): CheckedEvidence {
  return { ...evidence('attestation', by, digest('6')), predicateType, predicate }
}

export function image(evidences: readonly CheckedEvidence[], more: Partial<CheckedManifest> = {}): CheckedManifest {
  return { digest: digest('a'), evidence: evidences, refusals: [], created: ago(1), labels: {}, ...more }
}

export function candidate(promoted: CheckedManifest, more: Partial<Candidate> = {}): Candidate {
  const source = 'registry.test.example/team/api'
  return {
    source,
    registry: 'registry.test.example',
    destination: 'production',
    image: promoted,
    children: [],
    ...more,
  }
}

/** Throws what is wrong with it. */
export function policyOf(text: string, readFile: (path: string) => string): Policy {
  const problems: string[] = []
  const policy = parsePolicy(text, readFile, (problem) => problems.push(problem))
  if (policy === undefined) throw new Error(problems.join('\n'))
  return policy
}

/** As the run does it: read what is attached, verify it for each signer, judge. */
export async function ask(
  policy: Policy,
  subject: Manifest,
  attached: readonly Attachment[],
  read: (blob: Descriptor) => Promise<Uint8Array | undefined>,
  more: Partial<CheckedManifest> = {},
) {
  const { evidence, refusals } = await readEvidence(subject, attached, read)
  const verifier = new SignerVerifier()
  const checked = evidence.map(async (each) => {
    const verdicts = [...policy.signers].map(
      async ([name, signer]) => [name, await verifier.verify(each, signer)] as const,
    )
    return { ...each, verdicts: new Map(await Promise.all(verdicts)) }
  })
  const promoted = { digest: subject.descriptor.digest, refusals, evidence: await Promise.all(checked), ...more }
  const { findings, refusal } = judge(policy, candidate(promoted), NOW)
  return { evidence, refusals, lines: findings.map(findingLine), answer: refusal?.code ?? 'yes' }
}
