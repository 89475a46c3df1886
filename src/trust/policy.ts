/** Whether an image may go to a destination: every rule that fits is asked, and each answer says what it rests on. */
import { cut, oneLine } from '../core/text.ts'
import type { Digest } from '../oci/digest.ts'
import { splitHost } from '../oci/reference.ts'
import type { Evidence, Verdict, VerifiedSigner } from './evidence.ts'
import type { AttestedDemand, Policy, Rule, SignedDemand, WantedValues } from './policy-file.ts'
import { isOfType, parseTime, SEVERITIES, textAt, timeOf, worstSeverity } from './predicate.ts'
import type { Refusal } from './refusal.ts'
import { fits, namesRepository } from './signer-identity.ts'

/** An evidence, and what came of its verification for each signer of the policy. */
export type CheckedEvidence = Omit<Evidence, 'proof'> & Readonly<{ verdicts: ReadonlyMap<string, Verdict> }>

export type CheckedManifest = Readonly<{
  digest: Digest
  evidence: readonly CheckedEvidence[]
  /** Attachments that could not be read. */
  refusals: readonly Refusal[]
  /** `created` and labels of the image's config; undefined where it has no config of an image. */
  created?: string | undefined
  labels?: Readonly<Record<string, string>> | undefined
  /** Of the manifest. */
  annotations?: Readonly<Record<string, string>> | undefined
}>

export type Candidate = Readonly<{
  /** `registry.example/ns/name`, without tag. */
  source: string
  /** Host of the source side's own registry: patterns without a host are about its images. */
  registry: string | undefined
  /** Name of the destination. */
  destination: string
  image: CheckedManifest
  /** What is promoted of an index. */
  children: readonly CheckedManifest[]
}>

/** One thing that a rule asks for, and the answer. */
export type Finding = Readonly<{
  /** From 1, in the order of the file. */
  rule: number
  /** The destinations that the rule names; empty for all. */
  destinations: readonly string[]
  kind: 'signature' | 'attestation' | 'image'
  /** `signed by release`. */
  wants: string
  met: boolean
  proofs: readonly SignedBy[]
  /** Why it is not met. */
  reasons: readonly string[]
}>
type Answer = Omit<Finding, 'rule' | 'destinations'>
type SignedBy = Readonly<{ signer: string; by: VerifiedSigner; attachment: Digest }>

export type Judgement = Readonly<{
  findings: readonly Finding[]
  /** For a row of the report. */
  verified: readonly Readonly<{ rule: number; by: string; kind: 'signature' | 'attestation'; attachment: Digest }>[]
  /** Undefined: the image may go there. */
  refusal: PolicyRefusal | undefined
}>
/** Code, message and hint of the error of that image and destination. */
type PolicyRefusal = Readonly<{
  code: 'SIGNATURE_MISSING' | 'SIGNATURE_REJECTED' | 'POLICY'
  message: string
  hint: string
}>

const MOST_REASONS = 5
/** How far the clocks of two machines may differ. */
const CLOCK_SKEW = 3_600_000
const DAY = 24 * 3_600_000

/** @param now milliseconds since the epoch. */
export function judge(policy: Policy, candidate: Candidate, now: number): Judgement {
  const findings = policy.rules.flatMap((rule, index) =>
    answersTo(rule, candidate, now).map((answer): Finding => {
      return { rule: index + 1, destinations: rule.destinations ?? [], ...answer }
    }),
  )
  const verified = findings.flatMap(({ rule, kind, met, proofs }) =>
    met && kind !== 'image' ? proofs.map(({ signer, attachment }) => ({ rule, by: signer, kind, attachment })) : [],
  )
  return { findings, verified, refusal: refusalOf(findings, candidate) }
}

/** `rule 2 (production): signed by release — yes, key 735c9e45…` */
export function findingLine({ rule, destinations, wants, met, proofs, reasons }: Finding): string {
  const scope = destinations.length === 0 ? '' : ` (${destinations.join(', ')})`
  const names = proofs.map(({ signer, by }) => `${proofs.length > 1 ? `${signer}: ` : ''}${nameOf(by)}`)
  const answer = met ? ['yes', ...names].join(', ') : `no: ${summaryOf(reasons)}`
  return oneLine(`rule ${rule}${scope}: ${wants} — ${answer}`)
}

function nameOf(by: VerifiedSigner): string {
  return by.method === 'key' ? `key ${cut(by.key, 9)}` : oneLine(by.subject, 300)
}

function summaryOf(reasons: readonly string[]): string {
  const all = [...new Set(reasons)].map((reason) => reason.replace(/\.$/, ''))
  const told = all.filter((_, at) => at < MOST_REASONS).join('; ')
  return all.length > MOST_REASONS ? `${told}; and ${all.length - MOST_REASONS} more` : told
}

function refusalOf(findings: readonly Finding[], { source, destination, image }: Candidate): PolicyRefusal | undefined {
  if (findings.length === 0) {
    const hint = 'Nothing was written. Each image needs a rule that fits; one that asks for nothing has nothing: true.'
    return { code: 'POLICY', message: `no rule is about ${source} → ${destination}`, hint }
  }
  const unmet = findings.filter(({ met }) => !met)
  if (unmet.length === 0) return undefined
  const wants = unmet.map((each) => `rule ${each.rule} wants ${each.wants}: ${summaryOf(each.reasons)}`)
  const message = oneLine(`${source}: ${image.digest}: ${wants.join('. ')}`)
  if (unmet.every(({ kind }) => kind !== 'signature'))
    return { code: 'POLICY', message, hint: 'Nothing was written. Attest what the rule wants, or change the policy.' }
  const attested = image.evidence.filter(({ kind }) => kind === 'attestation').length
  if (attested < image.evidence.length || image.refusals.length > 0) {
    const hint = 'Sign it with cosign sign --key …, or add the signer to the policy.'
    return { code: 'SIGNATURE_REJECTED', message, hint }
  }
  const there = attested === 0 ? '' : `Attestations are attached (${attested}), and no signature. `
  return { code: 'SIGNATURE_MISSING', message, hint: `${there}Sign the image (cosign sign) before it is promoted.` }
}

/** Empty when the rule is not about the image or the destination. */
function answersTo(rule: Rule, candidate: Candidate, now: number): readonly Answer[] {
  if (!isAbout(rule, candidate)) return []
  const { image, children } = candidate
  const configs = children.length === 0 ? [image] : children
  const { signed, attested, 'max-age': maxAge } = rule
  const answers = [
    ...signed.map((demand) => signedAnswer(demand, image)),
    ...attested.map((demand) => attestedAnswer(demand, candidate, now)),
    ...(maxAge === undefined
      ? []
      : [imageAnswer(`built ${within(maxAge)}`, configs, (each) => tooOld(each, maxAge, now))]),
    ...valueAnswers('label', rule.labels, configs, ({ labels }) => labels),
    ...valueAnswers('annotation', rule.annotations, [image], ({ annotations = {} }) => annotations),
  ]
  return answers.length === 0 ? [imageAnswer('nothing', [], () => undefined)] : answers
}

function isAbout({ images, destinations }: Rule, { source, registry, destination }: Candidate): boolean {
  const isImage = (glob: string): boolean => {
    const isOwn = registry !== undefined && glob !== '*' && splitHost(glob).host === undefined
    return fits(isOwn ? `${registry}/${glob}` : glob, source)
  }
  return (images?.some(isImage) ?? true) && (destinations?.some((glob) => fits(glob, destination)) ?? true)
}

function signedAnswer(demand: SignedDemand, { evidence, refusals }: CheckedManifest): Answer {
  const { identity } = demand
  const refuse = ({ names }: CheckedEvidence): string | undefined => {
    if (identity === undefined || namesRepository(names, identity)) return undefined
    return names.length === 0 ? 'names no repository' : `is made for ${names.join(', ')}`
  }
  const wants = `signed by ${signersOf(demand)}${identity === undefined ? '' : ` for ${identity.join(' or ')}`}`
  const signatures = evidence.filter(({ kind }) => kind === 'signature')
  const isUnsigned = signatures.length + refusals.length === 0
  const others = isUnsigned ? ['it carries no signature'] : refusals.map(({ message }) => message)
  return { kind: 'signature', wants, ...countSigners(demand, signatures, refuse, others) }
}

/** The index has it, or each child that is promoted. */
function attestedAnswer(demand: AttestedDemand, { image, children }: Candidate, now: number): Answer {
  const ask = ({ evidence, digest }: CheckedManifest) => {
    const fitting = evidence.filter((each) => each.kind === 'attestation' && isOfType(demand.type, each.predicateType))
    const refuse = (each: CheckedEvidence) =>
      whereProblem(demand, each) ??
      (fitting.some((other) => replaces(demand, other, each))
        ? 'is older than another'
        : contentProblem(demand, each, now))
    return countSigners(demand, fitting, refuse, fitting.length === 0 ? [`${digest} carries none`] : [])
  }
  const [kind, wants, own] = ['attestation', attestedWants(demand), ask(image)] as const
  if (own.met || children.length === 0) return { kind, wants, ...own }
  const each = children.map(ask)
  const met = each.every((answer) => answer.met)
  const reasons = met ? [] : [own, ...each].flatMap((answer) => answer.reasons)
  return { kind, wants, met, proofs: each.flatMap(({ proofs }) => proofs), reasons }
}

function attestedWants(demand: AttestedDemand): string {
  const { type, 'max-age': maxAge, 'max-severity': maxSeverity, where } = demand
  const age = maxAge === undefined ? '' : ` made ${within(maxAge)}`
  const severity = maxSeverity === undefined ? '' : ` with nothing above ${maxSeverity}`
  const members = Object.entries(where).map(([path, glob]) => ` where ${path} is ${glob}`)
  return `${type} by ${signersOf(demand)}${age}${severity}${members.join('')}`
}

function whereProblem({ where }: AttestedDemand, { predicate }: CheckedEvidence): string | undefined {
  for (const [path, glob] of Object.entries(where)) {
    const found = textAt(predicate, path)
    if (found === undefined || !fits(glob, found)) return `says ${found ?? 'nothing'} as ${path}`
  }
  return undefined
}

/** A scan of yesterday without a finding does not make up for the finding in today's by the same signer. */
function replaces(demand: AttestedDemand, other: CheckedEvidence, each: CheckedEvidence): boolean {
  const isNewer = (timeOf(other.predicate) ?? 0) > (timeOf(each.predicate) ?? 0)
  if (demand['max-severity'] === undefined || !isNewer || whereProblem(demand, other) !== undefined) return false
  return demand.by.some((signer) => [other, each].every(({ verdicts }) => signerIn(verdicts.get(signer)) !== undefined))
}

function contentProblem(demand: AttestedDemand, { predicate }: CheckedEvidence, now: number): string | undefined {
  const { 'max-age': maxAge, 'max-severity': maxSeverity } = demand
  const stale = maxAge === undefined ? undefined : ageProblem(timeOf(predicate), maxAge, now)
  if (stale !== undefined || maxSeverity === undefined) return stale
  const worst = worstSeverity(predicate)
  if (worst === undefined) return 'has a result or severity that is not understood'
  return SEVERITIES.indexOf(worst) > SEVERITIES.indexOf(maxSeverity) ? `has a ${worst} one` : undefined
}

/**
 * @param refuse why an evidence does not count although a wanted signer made it.
 * @param others reasons beside those of the evidence.
 */
function countSigners(
  { by, 'at-least': atLeast }: SignedDemand | AttestedDemand,
  evidence: readonly CheckedEvidence[],
  refuse: (evidence: CheckedEvidence) => string | undefined,
  others: readonly string[],
): Pick<Answer, 'met' | 'proofs' | 'reasons'> {
  const found: SignedBy[] = []
  const reasons: string[] = []
  for (const each of evidence) {
    const verdicts = by.map((signer) => [signer, each.verdicts.get(signer)] as const)
    const signed = verdicts.flatMap(([signer, verdict]) => {
      const who = signerIn(verdict)
      return who === undefined ? [] : [{ signer, by: who, attachment: each.attachment }]
    })
    const why = signed.length === 0 ? undefined : refuse(each)
    if (why === undefined) found.push(...signed)
    else reasons.push(`${oneLine(why, 300)} (${each.attachment})`)
    for (const [, verdict] of signed.length > 0 ? [] : verdicts)
      if (verdict !== undefined && 'refusal' in verdict) reasons.push(verdict.refusal.message)
  }
  const proofs = distinct(found)
  if (proofs.length >= atLeast) return { met: true, proofs, reasons: [] }
  const few = `${proofs.length} of ${atLeast} (${proofs.map(({ signer }) => signer).join(', ')})`
  return { met: false, proofs, reasons: [...(proofs.length === 0 ? [] : [few]), ...reasons, ...others] }
}

function signerIn(verdict: Verdict | undefined): VerifiedSigner | undefined {
  return verdict !== undefined && 'signer' in verdict ? verdict.signer : undefined
}

/**
 * As many signers as there are, with a key or identity of its own for each: who signs twice counts once, and so does
 * who fits two signers of the policy. A maximum matching, by augmenting paths.
 */
function distinct(found: readonly SignedBy[]): readonly SignedBy[] {
  const held = new Map<string, SignedBy>()
  const place = (signer: string, tried: Set<string>): boolean =>
    found.some((each) => {
      const { by } = each
      const who = JSON.stringify(by.method === 'key' ? by.key : [by.issuer, by.subject])
      if (each.signer !== signer || tried.has(who)) return false
      tried.add(who)
      const holder = held.get(who)
      if (holder !== undefined && !place(holder.signer, tried)) return false
      held.set(who, each)
      return true
    })
  for (const signer of new Set(found.map((each) => each.signer))) place(signer, new Set())
  return [...held.values()]
}

function imageAnswer(
  wants: string,
  manifests: readonly CheckedManifest[],
  refuse: (manifest: CheckedManifest) => string | undefined,
): Answer {
  const reasons = manifests.flatMap((each) => {
    const why = refuse(each)
    return why === undefined ? [] : [`${each.digest} ${oneLine(why, 300)}`]
  })
  return { kind: 'image', wants, met: reasons.length === 0, proofs: [], reasons }
}

function valueAnswers(
  what: 'label' | 'annotation',
  wanted: WantedValues,
  manifests: readonly CheckedManifest[],
  valuesOf: (manifest: CheckedManifest) => Readonly<Record<string, string>> | undefined,
): Answer[] {
  return Object.entries(wanted).map(([key, glob]) =>
    imageAnswer(glob === false ? `no ${what} ${key}` : `${what} ${key} = ${glob}`, manifests, (each) => {
      const values = valuesOf(each)
      if (values === undefined) return 'has no config with labels'
      const value = Object.hasOwn(values, key) ? values[key] : undefined
      if (value === undefined) return glob === false ? undefined : 'does not have it'
      return glob !== false && fits(glob, value) ? undefined : `has ${value}`
    }),
  )
}

function signersOf({ by, 'at-least': atLeast }: SignedDemand | AttestedDemand): string {
  return atLeast > 1 ? `${atLeast} of ${by.join(', ')}` : by.join(' or ')
}

function within(milliseconds: number): string {
  return `within ${milliseconds % DAY === 0 ? `${milliseconds / DAY}d` : `${milliseconds / 3_600_000}h`}`
}

function tooOld({ created }: CheckedManifest, most: number, now: number): string | undefined {
  const time = parseTime(created)
  // Builders that make the same bytes of the same sources set the beginning of 1970 or of 1980 (the least time of zip).
  if (time !== undefined && time < Date.UTC(1980, 0, 2)) return `says ${created}: its build sets no real time`
  return ageProblem(time, most, now)
}

function ageProblem(time: number | undefined, most: number, now: number): string | undefined {
  if (time === undefined) return 'does not say when it was made'
  const said = `is of ${new Date(time).toISOString()}`
  if (time > now + CLOCK_SKEW) return `${said}, which is in the future`
  return now - time > most ? said : undefined
}
