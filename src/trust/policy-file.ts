/** The policy file (docs/policy.md): who must have signed and attested what, and which images may go where. */
import { z } from 'zod'
import { listed, oneLine, quote } from '../core/text.ts'
import { lineFinder, parseYaml } from '../core/yaml.ts'
import { type Digest, digestOf } from '../oci/digest.ts'
import { readPublicKeys } from './keyed.ts'
import { SEVERITIES, TYPE_NAMES } from './predicate.ts'
import { SIGNATURE_PREDICATE } from './signature.ts'
import { CLAIMS, type Signer } from './signer-identity.ts'

export type Policy = Readonly<{
  /** Of the file; undefined for the policy of `signer-key` and `signer-issuer`. */
  digest: Digest | undefined
  signers: ReadonlyMap<string, Signer>
  rules: readonly Rule[]
}>

/** The members have the names of the file. Ages are milliseconds; texts have `*` for any characters. */
export type Rule = z.infer<ReturnType<typeof ruleSchema>>
export type SignedDemand = Rule['signed'][number]
export type AttestedDemand = Rule['attested'][number]
/** `false`: must not be there. */
export type WantedValues = Rule['labels']

/** Reads a file that the policy names, relative to it. Throws an Error whose message follows the name of the member. */
export type ReadFile = (path: string) => string

/** More signers or rules are a mistake. */
const MOST_ENTRIES = 1000
const MOST_PROBLEMS = 20
const MOST_NOTED = 200

/**
 * @param note is told everything that is wrong, in the order of the lines.
 * @returns undefined when something is wrong.
 */
export function parsePolicy(source: string, readFile: ReadFile, note: (problem: string) => void): Policy | undefined {
  let document: unknown
  try {
    document = parseYaml(source)
  } catch (thrown) {
    note((thrown as Error).message)
    return undefined
  }
  const problems: [path: Path, message: string][] = []
  const noteAt: NoteAt = (path, message) => problems.length < MOST_NOTED && problems.push([path, message])
  check(policySchema, document, [], noteAt)
  // What is wrong at the top is told beside what is wrong below.
  const { signers, rules } = entriesSchema.parse(document)
  const schema = ruleSchema(new Set(Object.keys(signers)))
  const policy = {
    digest: digestOf(Buffer.from(source)),
    signers: new Map<string, Signer>(),
    rules: rules.flatMap((rule, index) => check(schema, rule, ['rules', index], noteAt) ?? []),
  }
  for (const [name, entry] of Object.entries(signers)) {
    const parsed = check(signerSchema, entry, ['signers', name], noteAt)
    const noteSigner: NoteAt = (path, message) => noteAt(['signers', name, ...path], message)
    if (parsed !== undefined) policy.signers.set(name, toSigner(parsed, readFile, noteSigner))
  }
  if (problems.length === 0) return policy
  const lineOf = lineFinder(source)
  const told = problems.map(([path, message]) => [lineOf(path), `${nameOf(path)} ${message}`] as const)
  told.sort(([a], [b]) => a - b)
  for (const [line, problem] of told.filter((_, at) => at < MOST_PROBLEMS)) note(`line ${line}: ${problem}`)
  if (told.length > MOST_PROBLEMS) note('and more')
  return undefined
}

/** The policy of `signer-key` and `signer-issuer`: every image must be signed by this signer. */
export function policyOfOne(name: string, signer: Signer): Policy {
  const rule = { signed: [{ by: [name], 'at-least': 1 }], attested: [], labels: {}, annotations: {} }
  return { digest: undefined, signers: new Map([[name, signer]]), rules: [rule] }
}

/**
 * The signer of `signer-key`, or of `signer-issuer`, `signer-subject` and `trusted-root`.
 * @param note is told the member that is wrong, and how.
 */
export function parseSigner(
  entry: object,
  readFile: ReadFile,
  note: (member: string, problem: string) => void,
): Signer | undefined {
  const problems: string[] = []
  const noteAt: NoteAt = ([member = ''], message) => note(String(member), problems[problems.push(message) - 1] ?? '')
  const parsed = check(signerSchema, entry, [], noteAt)
  const signer = parsed && toSigner(parsed, readFile, noteAt)
  return problems.length === 0 ? signer : undefined
}

type Path = readonly PropertyKey[]
type NoteAt = (path: Path, message: string) => unknown

function check<T>(schema: z.ZodType<T>, value: unknown, at: Path, noteAt: NoteAt): T | undefined {
  const { data, error } = schema.safeParse(value)
  for (const issue of error?.issues ?? []) {
    const path = [...at, ...issue.path]
    if (issue.code !== 'unrecognized_keys') noteAt(path, issue.message)
    else for (const key of issue.keys) noteAt([...path, key], 'is not a member that exists')
  }
  return data
}

/** `rule 2: signed.by`, `signer build: keys`; the line tells the place in a list. */
function nameOf([list, entry, ...members]: Path): string {
  const names = members.filter((step) => typeof step === 'string').join('.')
  const place = list === 'rules' ? `rule ${Number(entry) + 1}` : `signer ${String(entry)}`
  if (entry === undefined) return oneLine(String(list ?? 'the policy'), 200)
  return oneLine(names === '' ? place : `${place}: ${names}`, 200)
}

function toSigner(parsed: z.infer<typeof signerSchema>, readFile: ReadFile, note: NoteAt): Signer {
  const read = <T>(path: Path, call: () => T): T | undefined => {
    try {
      return call()
    } catch (thrown) {
      note(path, oneLine((thrown as Error).message))
      return undefined
    }
  }
  const { keys, issuer = '', subject = '', claims, 'trusted-root': root } = parsed
  const trustedRoot = root === undefined ? undefined : read(['trusted-root'], () => readFile(root))
  if (keys === undefined) return { issuer, subject, claims, trustedRoot: trustedRoot ?? '' }
  const pemOf = (given: string) => (given.includes('-----BEGIN ') ? given : readFile(given))
  const loaded = keys.flatMap((given, index) => read(['keys', index], () => readPublicKeys(pemOf(given))) ?? [])
  return { keys: loaded, log: trustedRoot }
}

/** The message for a value that is there and wrong; a member that has to be there is missing otherwise. */
const unless = (message: string) => ({
  error: ({ input }: Readonly<{ input?: unknown }>) => (input === undefined ? 'is missing' : message),
})
/** What several members mean together is judged when each is right, so that one mistake is one problem. */
const when = ({ issues }: Readonly<{ issues: readonly unknown[] }>): boolean => issues.length === 0

const text = z.string(unless('is not text; put it in quotes')).min(1, 'is empty')
const listOf = <T extends z.ZodType>(item: T) => z.array(item, unless('is not a list')).min(1, 'is an empty list')
const mapOf = <T extends z.ZodType>(item: T) => z.record(z.string(), item, unless('is not a map')).default({})
const members = <T extends z.ZodRawShape>(shape: T) => z.strictObject(shape, unless('is not a map'))
const wantedValues = mapOf(z.union([text, z.literal(false)], unless('is neither text in quotes nor false')))

const HOUR = 3_600_000
const UNITS: Readonly<Record<string, number>> = { h: HOUR, d: 24 * HOUR, w: 7 * 24 * HOUR }
const duration = text
  .regex(/^[1-9]\d{0,3}[hdw]$/, 'is not a time such as 12h, 7d or 2w')
  .transform((value) => Number(value.slice(0, -1)) * (UNITS[value.slice(-1)] ?? 0))

const policySchema = members({
  version: z.literal(1, unless('is not 1')),
  signers: mapOf(z.unknown()).refine((map) => Object.keys(map).length <= MOST_ENTRIES, 'are too many'),
  rules: listOf(z.unknown()).max(MOST_ENTRIES, 'are too many'),
})

const entriesSchema = z
  .object({
    signers: z.record(z.string(), z.unknown()).catch({}),
    rules: z.array(z.unknown()).max(MOST_ENTRIES).catch([]),
  })
  .catch({ signers: {}, rules: [] })

const signerSchema = members({
  keys: listOf(text).optional(),
  log: z.boolean(unless('is neither true nor false')).default(false),
  issuer: text.regex(/^https?:\/\/[^*\s]+$/, 'is not a URL, or has a *: it is compared as it stands').optional(),
  // A pattern of which nothing but the form is given fits everyone: `*`, `*@*`, `https://*`.
  subject: text.refine((glob) => /[\p{L}\p{N}]/u.test(glob.replace(/^\w+:\/\//, '')), 'fits everyone').optional(),
  claims: mapOf(text).refine((claims) => Object.keys(claims).every((name) => CLAIMS.has(name)), {
    error: `has a name that is not one of ${listed([...CLAIMS.keys()])}`,
  }),
  'trusted-root': text.optional(),
}).superRefine(({ keys, log, issuer, subject, claims, 'trusted-root': root }, { addIssue, issues }) => {
  const say = (message: string) => issues.length === 0 && addIssue({ code: 'custom', message })
  const hasIdentity = [issuer, subject, ...Object.keys(claims)].some((each) => each !== undefined)
  const isWhole = [issuer, subject, root].every((each) => each !== undefined)
  if (keys === undefined && !isWhole) say('needs keys, or issuer, subject and trusted-root')
  if (keys === undefined && log) say('has log without keys: for an identity the trusted-root decides about logs')
  if (keys !== undefined && hasIdentity) say('has keys and an identity: make it two signers')
  if (keys !== undefined && log !== (root !== undefined)) say('has log: true without trusted-root, or the reverse')
})

function ruleSchema(signers: ReadonlySet<string>) {
  const signer = text.refine((name) => signers.has(name), {
    error: ({ input }) => `names ${quote(String(input))}, which is not among the signers`,
  })
  const demand = {
    by: listOf(signer).refine((names) => new Set(names).size === names.length, 'names a signer twice'),
    'at-least': z.int(unless('is not a whole number')).min(1, 'is less than 1').default(1),
  }
  const isPossible = (each: Readonly<{ by: readonly string[]; 'at-least': number }>) =>
    each['at-least'] <= each.by.length
  const impossible = { error: 'is more than there are signers in by', path: ['at-least'], when }
  const signed = members({ ...demand, identity: listOf(text).optional() }).refine(isPossible, impossible)
  const type = text
    .refine((name) => TYPE_NAMES.includes(name) || /[:/]/.test(name), `is no URI and not one of ${listed(TYPE_NAMES)}`)
    .refine((name) => name !== SIGNATURE_PREDICATE, 'is that of a signature: ask for it in signed')
  const attested = members({
    ...demand,
    type,
    'max-age': duration.optional(),
    'max-severity': z.enum(SEVERITIES, unless(`is not one of ${listed(SEVERITIES)}`)).optional(),
    where: mapOf(text),
  }).refine(isPossible, impossible)
  // `*/app` could mean each registry, or each first component of the source registry.
  const image = text.refine((glob) => !glob.startsWith('*/'), 'begins with */: name the registry, or a namespace')
  return members({
    images: listOf(image).optional(),
    destinations: listOf(text).optional(),
    signed: listOf(signed).default([]),
    attested: listOf(attested).default([]),
    'max-age': duration.optional(),
    labels: wantedValues,
    annotations: wantedValues,
    nothing: z.literal(true, unless('is not true')).optional(),
  }).refine(
    ({ signed, attested, labels, annotations, 'max-age': maxAge, nothing = false }) => {
      const asked = [...signed, ...attested, ...Object.keys(labels), ...Object.keys(annotations)]
      return (asked.length > 0 || maxAge !== undefined) !== nothing
    },
    {
      error: ({ input }) =>
        (input as { nothing?: true }).nothing
          ? 'says nothing: true and asks for something'
          : 'asks for nothing; if that is meant, say nothing: true',
      when,
    },
  )
}
