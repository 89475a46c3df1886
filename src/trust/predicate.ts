/** What a policy asks of an attestation's predicate: its type, its age, its severities, its members. */

/** Predicate types by the names that a policy may use. A version may follow: `…/v1`, `…/v2.3`. */
const NAMED: Readonly<Record<string, readonly string[]>> = {
  'slsa-provenance': ['https://slsa.dev/provenance'],
  spdx: ['https://spdx.dev/Document'],
  cyclonedx: ['https://cyclonedx.org/bom'],
  vuln: ['https://cosign.sigstore.dev/attestation/vuln', 'https://in-toto.io/attestation/vulns'],
  promotion: ['https://github.com/OWNER/image-promote/promotion'],
}
export const TYPE_NAMES = Object.keys(NAMED)

/** @param type a name of `TYPE_NAMES`, or the whole predicate type. */
export function isOfType(type: string, predicateType: string | undefined): boolean {
  const bases = Object.hasOwn(NAMED, type) ? NAMED[type] : undefined
  if (bases === undefined) return predicateType === type
  return bases.some((base) => predicateType === base || predicateType?.startsWith(`${base}/v`))
}

/** Where predicates say when they were made: scans, provenance (v1, v0.2), summaries, promotions, SPDX, CycloneDX. */
const TIMES =
  'metadata.scanFinishedOn runDetails.metadata.finishedOn metadata.buildFinishedOn timeCreated promotedOn creationInfo.created metadata.timestamp'.split(
    ' ',
  )
/** RFC 3339. `Date.parse` alone takes far more, and by the rules of the engine. */
const TIME = /^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)$/

/** Milliseconds since the epoch. */
export function timeOf(predicate: unknown): number | undefined {
  return parseTime(TIMES.map((path) => memberAt(predicate, path)).find((value) => value !== undefined))
}

export function parseTime(text: unknown): number | undefined {
  const time = typeof text === 'string' && TIME.test(text) ? Date.parse(text) : Number.NaN
  return Number.isNaN(time) ? undefined : time
}

/** From the least. */
export const SEVERITIES = ['none', 'negligible', 'low', 'medium', 'high', 'critical'] as const
export type Severity = (typeof SEVERITIES)[number]

/**
 * The worst severity in a scanner's own result (`scanner.result`): Trivy's, Grype's, or that of in-toto vulns. Undefined
 * when the result, or a severity in it, is not understood: what cannot be read says nothing about an image.
 */
export function worstSeverity(predicate: unknown): Severity | undefined {
  const found = severitiesIn(memberAt(predicate, 'scanner.result'))
  if (found === undefined || found.includes(undefined)) return undefined
  const levels = found.map((severity) => SEVERITIES.indexOf(severity ?? 'critical'))
  return SEVERITIES[levels.reduce((worst, level) => Math.max(worst, level), 0)]
}

function severitiesIn(result: unknown): (Severity | undefined)[] | undefined {
  const [trivy, grype] = [memberAt(result, 'Results'), memberAt(result, 'matches')]
  if (Array.isArray(trivy)) {
    // Trivy leaves the list out when it found nothing to scan; a target without vulnerabilities has no list of them.
    const found = trivy.flatMap((target) => (isObject(target) ? (memberAt(target, 'Vulnerabilities') ?? []) : [target]))
    return trivy.length === 0 ? undefined : found.map((each) => severityOf(memberAt(each, 'Severity')))
  }
  if (Array.isArray(grype)) return grype.map((match) => severityOf(memberAt(match, 'vulnerability.severity')))
  if (!Array.isArray(result)) return undefined
  return result.flatMap((entry) => {
    const scores = memberAt(entry, 'severity') ?? memberAt(entry, 'vulnerability.severity')
    const all = Array.isArray(scores) && scores.length > 0 ? scores : [scores]
    return all.map((each) => severityOf(memberAt(each, 'score'), memberAt(each, 'method')))
  })
}

/** Least score of the ratings from low: https://www.first.org/cvss/v3.1/specification-document, section 5. */
const CVSS = { low: 0.1, medium: 4, high: 7, critical: 9 } as const

function severityOf(word: unknown, method?: unknown): Severity | undefined {
  const text = String(word).toLowerCase()
  const known = SEVERITIES.find((severity) => severity === text)
  if (known !== undefined || !/cvss/i.test(String(method)) || !/^(?:\d(?:\.\d+)?|10(?:\.0+)?)$/.test(text)) return known
  const ratings = (['critical', 'high', 'medium', 'low'] as const).filter((rating) => Number(text) >= CVSS[rating])
  return ratings[0] ?? 'none'
}

/** A text, number or boolean, as text. */
export function textAt(predicate: unknown, path: string): string | undefined {
  const value = memberAt(predicate, path)
  return ['string', 'number', 'boolean'].includes(typeof value) ? String(value) : undefined
}

/** A member of a member: `runDetails.builder.id`; a number is a place in a list. */
function memberAt(value: unknown, path: string): unknown {
  let found = value
  for (const name of path.split('.')) {
    if (!isObject(found) || !Object.hasOwn(found, name)) return undefined
    found = (found as Readonly<Record<string, unknown>>)[name]
  }
  return found
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null
}
