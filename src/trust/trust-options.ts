/** The options that hold a policy or a signing key, as they were given. Their code is loaded when the run begins. */
import { dirname, resolve } from 'node:path'
import type { Secret } from '../core/secret.ts'
import type { PolicyInputs } from './load-policy.ts'

/** What is wrong with the key is told once the code that reads it is loaded. */
export type SignInputs = Readonly<{
  /** Undefined: nothing is signed, and the statements go to `recordFile` alone. */
  key: Secret | undefined
  password: Secret | undefined
  what: 'record' | 'image' | 'both'
  /** Registry or repository in the image signature. */
  as: string | undefined
  recordFile: string | undefined
  spell: (option: string) => string
}>

type Reader = Readonly<{
  has(name: string): boolean
  text(name: string): string | undefined
  secret(name: string): Secret | undefined
  problem(name: string, problem: string): void
  parsed<T>(name: string, parse: (text: string) => T): T | undefined
}>
type Spell = (option: string) => string

/** @param readFile throws an Error whose message follows the name of the option. */
export function readTrustOptions(inputs: Reader, spell: Spell, readFile: (path: string) => string) {
  return { trust: readPolicyOptions(inputs, spell, readFile), sign: readSignOptions(inputs, spell) }
}

function readPolicyOptions(inputs: Reader, spell: Spell, readFile: (path: string) => string): PolicyInputs | undefined {
  const read = (name: string, isText: RegExp) =>
    inputs.parsed(name, (given) => (isText.test(given) ? given : readFile(given)))
  const policy = read('policy', /[\n{]/)
  const given = inputs.text('policy') ?? ''
  const folder = policy === given ? '' : dirname(given)
  const options = {
    policy,
    'signer-key': read('signer-key', /-----BEGIN /),
    'signer-issuer': inputs.text('signer-issuer'),
    'signer-subject': inputs.text('signer-subject'),
    'trusted-root': read('trusted-root', /\{/),
  }
  if (Object.values(options).every((option) => option === undefined)) return undefined
  return { ...options, spell, readFile: (path) => readFile(resolve(folder, path)) }
}

function readSignOptions(inputs: Reader, spell: Spell): SignInputs | undefined {
  const key = inputs.secret('sign-key')
  const what = inputs.text('sign') as SignInputs['what']
  const isAlone = ['sign-key-password', 'sign-as'].find((name) => inputs.has(name))
  const lonely = isAlone ?? (what === 'record' ? undefined : 'sign')
  if (key === undefined && lonely !== undefined) inputs.problem(lonely, `needs ${spell('sign-key')}`)
  const recordFile = inputs.text('record-file')
  if (key === undefined && recordFile === undefined) return undefined
  return { key, password: inputs.secret('sign-key-password'), what, as: inputs.text('sign-as'), recordFile, spell }
}
