/** The policy of a run, from the options that hold or name it. Loaded only when one of them is set. */
import { oneLine } from '../core/text.ts'
import type { SignerVerifier } from './keyless.ts'
import { type Policy, parsePolicy, parseSigner, policyOfOne, type ReadFile } from './policy-file.ts'

/** Texts, already read. */
export type PolicyInputs = Readonly<{
  policy: string | undefined
  /** PEM. */
  'signer-key': string | undefined
  'signer-issuer': string | undefined
  'signer-subject': string | undefined
  'trusted-root': string | undefined
  /** Reads what the policy names, relative to its file. */
  readFile: ReadFile
  /** How the host spells an option. */
  spell: (option: string) => string
}>

type Note = (option: string, problem: string) => void

/** Member of a signer in the policy file → the option with the same meaning. */
const MEMBERS = {
  keys: 'signer-key',
  issuer: 'signer-issuer',
  subject: 'signer-subject',
  'trusted-root': 'trusted-root',
} as const
const IDENTITY = ['signer-issuer', 'signer-subject', 'trusted-root'] as const

/**
 * @param note is told everything that is wrong.
 * @returns undefined when something is.
 */
export async function loadPolicy(
  inputs: PolicyInputs,
  verifier: SignerVerifier,
  note: Note,
): Promise<Policy | undefined> {
  let isRight = true
  const noteOne: Note = (option, problem) => {
    isRight = false
    note(option, problem)
  }
  const policy = readPolicy(inputs, noteOne)
  for (const [name, signer] of policy?.signers ?? []) {
    const root = 'keys' in signer ? signer.log : signer.trustedRoot
    const [option, label] =
      inputs.policy === undefined ? (['trusted-root', ''] as const) : ['policy', `signer ${name}: `]
    if (root !== undefined)
      await verifier
        .checkRoot(root)
        .catch((thrown: Error) => noteOne(option, oneLine(`${label}trusted-root ${thrown.message}`)))
  }
  return isRight ? policy : undefined
}

function readPolicy(inputs: PolicyInputs, note: Note): Policy | undefined {
  const given = Object.values(MEMBERS).filter((option) => inputs[option] !== undefined)
  const exclude = (by: string, options: readonly string[]) => {
    for (const option of options) note(option, `is excluded by ${inputs.spell(by)}`)
  }
  if (inputs.policy !== undefined) {
    exclude('policy', given)
    return parsePolicy(inputs.policy, inputs.readFile, (problem) => note('policy', problem))
  }
  const others = given.filter((option) => option !== 'signer-key')
  if (inputs['signer-key'] !== undefined) exclude('signer-key', others)
  else {
    const missing = IDENTITY.filter((option) => inputs[option] === undefined).map(inputs.spell)
    const [first = 'signer-issuer'] = given
    if (missing.length > 0) note(first, `needs ${missing.join(' and ')}`)
    if (missing.length > 0) return undefined
  }
  const [name, entry] =
    inputs['signer-key'] === undefined
      ? [
          'signer-subject',
          { issuer: inputs['signer-issuer'], subject: inputs['signer-subject'], 'trusted-root': 'root' },
        ]
      : ['signer-key', { keys: [inputs['signer-key']] }]
  const readRoot = () => inputs['trusted-root'] ?? ''
  const signer = parseSigner(entry, readRoot, (member, problem) => {
    note(Object.hasOwn(MEMBERS, member) ? MEMBERS[member as keyof typeof MEMBERS] : name, problem)
  })
  return signer && policyOfOne(name, signer)
}
