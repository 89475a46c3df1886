/** Who may be trusted, and whether a certificate's identity or a signed name is the wanted one. Patterns are always anchored. */
import type { KeyObject } from 'node:crypto'
import { quote } from '../core/text.ts'
import { RefusedEvidence } from './refusal.ts'

/** One signer of a policy. */
export type Signer = KeySigner | IdentitySigner

export type KeySigner = Readonly<{
  /** Any of them. */
  keys: readonly KeyObject[]
  /** Text of the trusted_root.json whose log must hold the signature; undefined where no log entry is wanted. */
  log: string | undefined
}>

export type IdentitySigner = Readonly<{
  issuer: string
  /** With `*` for any characters. */
  subject: string
  /** Names of `CLAIMS`, with `*` for any characters. */
  claims: Readonly<Record<string, string>>
  /** Text of a trusted_root.json. */
  trustedRoot: string
}>

/** Claims of a Fulcio certificate: https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md, 1.3.6.1.4.1.57264.1.N. */
export const CLAIMS: ReadonlyMap<string, number> = new Map([
  ['build-signer', 9],
  ['runner', 11],
  ['source-repository', 12],
  ['source-digest', 13],
  ['source-ref', 14],
  ['build-config', 18],
  ['trigger', 20],
  ['run', 21],
])
const FULCIO = '1.3.6.1.4.1.57264.1.'
const ISSUER = 8
/** Not wrapped in DER; certificates before 2022 have it alone. */
const OLD_ISSUER = 1
const SUBJECT_ALTERNATIVE_NAME = '2.5.29.17'

/** DER tags: X.690, and the choices of GeneralName in RFC 5280 section 4.2.1.6. */
const TAG = { utf8: 0x0c, sequence: 0x30, email: 0x81, uri: 0x86 } as const

export type CertificateIdentity = Readonly<{
  issuer: string
  subject: string
  claims: Readonly<Record<string, string>>
}>
/** The content of an X.509 extension. */
export type Extension = Readonly<{ oid: string; value: Uint8Array }>

/**
 * @param extensions of a certificate that was verified.
 * @throws RefusedEvidence MALFORMED
 */
export function readIdentity(extensions: readonly Extension[]): CertificateIdentity {
  const find = (oid: string): Uint8Array | undefined => {
    const [found, ...more] = extensions.filter((each) => each.oid === oid)
    if (more.length > 0) throw new RefusedEvidence('MALFORMED', `its certificate has the extension ${oid} twice`)
    return found?.value
  }
  const claim = (number: number) => unwrap(find(`${FULCIO}${number}`), TAG.utf8)
  const old = find(`${FULCIO}${OLD_ISSUER}`)
  const issuer = claim(ISSUER) ?? (old && utf8(old))
  // A list of exactly one name: two would let one certificate stand for two signers.
  const names = content(find(SUBJECT_ALTERNATIVE_NAME), TAG.sequence)
  const subject = unwrap(names, TAG.uri) ?? unwrap(names, TAG.email)
  if (issuer === undefined) throw new RefusedEvidence('MALFORMED', 'its certificate names no issuer of the identity')
  if (subject === undefined)
    throw new RefusedEvidence('MALFORMED', 'its certificate does not name exactly one URI or e-mail address')
  const claims = [...CLAIMS].flatMap(([name, number]) => {
    const value = claim(number)
    return value === undefined ? [] : [[name, value]]
  })
  return { issuer, subject, claims: Object.fromEntries(claims) }
}

/** @throws RefusedEvidence OTHER_ISSUER, OTHER_SUBJECT, OTHER_CLAIM */
export function checkIdentity(found: CertificateIdentity, wanted: IdentitySigner): void {
  const by = `is signed by ${quote(found.subject)}`
  if (found.issuer !== wanted.issuer)
    throw new RefusedEvidence('OTHER_ISSUER', `${by} of the issuer ${quote(found.issuer)}`)
  if (!fitsIdentity(wanted.subject, found.subject)) throw new RefusedEvidence('OTHER_SUBJECT', by)
  for (const [name, pattern] of Object.entries(wanted.claims)) {
    const value = Object.hasOwn(found.claims, name) ? found.claims[name] : undefined
    if (value !== undefined && fitsIdentity(pattern, value)) continue
    const said = value === undefined ? `no ${name}` : `the ${name} ${quote(value)}`
    throw new RefusedEvidence('OTHER_CLAIM', `${by} with ${said}`)
  }
}

/**
 * `PATH@REF` of a workflow: the first `@` of the pattern is the first one of the text. Otherwise a branch with the name
 * `x/release.yaml@refs/tags/v1`, which whoever may push a branch can make, would pass for the tag.
 */
function fitsIdentity(pattern: string, text: string): boolean {
  const [wanted, found] = [pattern.indexOf('@'), text.indexOf('@')]
  if (wanted < 0) return fits(pattern, text)
  if (found < 0) return false
  return fits(pattern.slice(0, wanted), text.slice(0, found)) && fits(pattern.slice(wanted), text.slice(found))
}

/** Whether a repository that the signed content names, with or without its tag and digest, is one of the wanted ones. */
export function namesRepository(names: readonly string[], patterns: readonly string[]): boolean {
  const bare = names.map((name) => name.replace(/^([^@]*)@.*$/, '$1').replace(/:[^:/]*$/, ''))
  return [...names, ...bare].some((name) => patterns.some((pattern) => fits(pattern, name)))
}

/**
 * Whether the whole text fits the pattern: `*` stands for any characters, everything else for itself. A text with control
 * characters fits no pattern. Takes time in proportion to the text for each `*`.
 */
export function fits(pattern: string, text: string): boolean {
  if (/\p{Cc}/u.test(text)) return false
  const [first = '', ...parts] = pattern.split('*')
  const last = parts.pop()
  if (last === undefined) return text === pattern
  if (!text.startsWith(first)) return false
  let used = first.length
  for (const part of parts) {
    const found = text.indexOf(part, used)
    if (found < 0) return false
    used = found + part.length
  }
  return text.endsWith(last) && used + last.length <= text.length
}

/** The text in the one DER value that fills the bytes, when it has the tag. */
function unwrap(bytes: Uint8Array | undefined, tag: number): string | undefined {
  const inner = content(bytes, tag)
  return inner && utf8(inner)
}

function content(bytes: Uint8Array | undefined, tag: number): Uint8Array | undefined {
  const [found, length = 0, high = 0, low = 0] = bytes ?? []
  const [header, size] = length === 0x82 ? [4, high * 256 + low] : length === 0x81 ? [3, high] : [2, length]
  return found === tag && bytes?.length === header + size ? bytes.subarray(header) : undefined
}

/** @throws TypeError; for the library's "ascii", another letter can pass for a slash. */
function utf8(bytes: Uint8Array): string {
  return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
}
