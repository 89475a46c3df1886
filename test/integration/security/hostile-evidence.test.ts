/** Evidence and trusted roots that were changed at one place: always a reason, never an exception, never accepted. */
import { isDeepStrictEqual } from 'node:util'
import { beforeAll, expect, test } from '@jest/globals'
import { type Evidence, readEvidence, type VerifiedSigner } from '../../../src/trust/evidence.ts'
import { SignerVerifier } from '../../../src/trust/keyless.ts'
import type { Signer } from '../../../src/trust/signer-identity.ts'
import { type Dice, diceOf } from '../../support/dice.ts'
import { seeds } from '../../support/random.ts'
import { Attached, BUNDLE, bundleOf, DSSE, ec, image, SPDX, simpleOf, statementOf } from '../../support/signed.ts'
import { createSigstore, ISSUER, pemOf } from '../../support/sigstore.ts'

type Json = null | boolean | number | string | readonly Json[] | Members
type Members = { readonly [member: string]: Json }
type Path = readonly string[]
type World = Readonly<{ document: Json; root: Json }>
type Case = Readonly<{
  name: string
  world: World
  /** The same made once more: parts of it are put in the place of ours. */
  other: World
  attach: (document: Json) => Attached
  signer: (root: string) => Signer
  /** What nobody may change in any way, as paths with dots. */
  protected: readonly string[]
}>
type Found = Readonly<{ evidence: Evidence; signer: VerifiedSigner }>

const keys = ec()
const cases: Case[] = []

beforeAll(async () => {
  const [sigstore, quiet] = await Promise.all([createSigstore(), createSigstore({ ct: false })])
  const github = (trustedRoot: string) => ({ issuer: ISSUER, subject: '*', claims: {}, trustedRoot })
  // Ours, and that of a stranger.
  const turns = [keys, ec(), keys, ec()]
  const byKey = () => ({ keys: [keys.publicKey], log: undefined })
  const root = plain(sigstore.root)
  const quietRoot = plain({ ...quiet.root, tlogs: [], ctlogs: [] })
  const [statement, sbom] = [statementOf(), statementOf(SPDX, { name: 'app' })]
  const bundle = (document: Json) => new Attached().add(null, [[BUNDLE, textOf(document), {}]], BUNDLE)
  const add = async (
    name: string,
    make: () => unknown,
    trusted: Json,
    rest: Pick<Case, 'attach' | 'signer' | 'protected'>,
  ) => {
    const [mine, other] = [plain(await make()), plain(await make())]
    cases.push({
      name,
      world: { document: mine, root: trusted },
      other: { document: other, root: plain(quiet.root) },
      ...rest,
    })
  }
  const envelope = ['mediaType', 'dsseEnvelope.payload', 'dsseEnvelope.payloadType', 'dsseEnvelope.signatures.0.sig']
  const certified = [...envelope, 'verificationMaterial.certificate.rawBytes']
  const entry = ['kindVersion.kind', 'kindVersion.version', 'canonicalizedBody', 'logId.keyId']
  const promise = ['integratedTime', 'inclusionPromise.signedEntryTimestamp', 'logIndex']
  const entries = (names: readonly string[]) => names.map((name) => `verificationMaterial.tlogEntries.0.${name}`)
  const rekor = ['SignedEntryTimestamp', 'Payload.body', 'Payload.integratedTime', 'Payload.logIndex', 'Payload.logID']
  const old = rekor.map((name) => `rekor.${name}`)
  const paths = (document: readonly string[], ...roots: readonly string[]) => [
    ...document.map((path) => `document.${path}`),
    ...roots.map((path) => `root.${path}`),
  ]
  const authority = 'certificateAuthorities.0.certChain.certificates.0.rawBytes'
  const log = ['tlogs.0.publicKey.rawBytes', 'tlogs.0.logId.keyId', authority]
  const ct = ['ctlogs.0.publicKey.rawBytes', 'ctlogs.0.logId.keyId']
  const tsa = ['timestampAuthorities.0.certChain.certificates.0.rawBytes']

  await add('key', () => bundleOf(statement, turns.shift() ?? keys), quietRoot, {
    attach: bundle,
    signer: byKey,
    protected: paths(envelope),
  })
  await add('key under .sig', () => fromSimple(simpleOf(turns.shift() ?? keys)), quietRoot, {
    attach: sigOf,
    signer: byKey,
    protected: paths(['payload', 'signature']),
  })
  await add('rekor1', () => sigstore.bundle(statement, 'rekor1'), root, {
    attach: bundle,
    signer: github,
    protected: paths([...certified, ...entries([...entry, ...promise])], ...log, ...ct),
  })
  await add('rekor2', () => sigstore.bundle(sbom, 'rekor2'), root, {
    attach: bundle,
    signer: github,
    protected: paths([...certified, ...entries(entry)], ...log, ...ct, ...tsa),
  })
  await add('timestamp', () => quiet.bundle(statement, 'timestamp'), quietRoot, {
    attach: bundle,
    signer: github,
    protected: paths(certified, authority, ...tsa),
  })
  await add('.sig', async () => fromSimple(await sigstore.simple()), root, {
    attach: sigOf,
    signer: github,
    protected: paths(['payload', 'signature', 'certificate', ...old], ...log, ...ct),
  })
  await add('.att', async () => fromAttestation(await sigstore.attestation(sbom)), root, {
    attach: attOf,
    signer: github,
    protected: paths(['envelope.payload', 'envelope.signatures.0.sig', 'certificate', ...old], ...log, ...ct),
  })
  for (const each of cases)
    expect({ name: each.name, problem: await problemOf(each, each.world, undefined) }).toEqual({
      name: each.name,
      problem: 'accepted',
    })
})

test.each(seeds(200, 10_000))('changed evidence of seed %i', async (seed) => {
  const dice = diceOf(seed)
  const each = dice.one(cases)
  const kind = dice.one(['protected', 'anywhere', 'bytes'] as const)
  if (kind === 'bytes') {
    const problem = await problemOf(each, each.world, (bytes) => changeBytes(bytes, dice))
    return expect({ name: each.name, problem }).toEqual({
      name: each.name,
      problem: expect.stringMatching(/^(?:refused|accepted)$/),
    })
  }
  const path = kind === 'protected' ? dice.one(each.protected).split('.') : dice.one([...pathsOf(each.world)])
  const value = changeValue(at(each.world, path), at(each.other, path), dice)
  const world = put(each.world, path, value) as World
  const before = at(each.world, path)
  const isChanged = isDecoded(path) ? !isSame(value, before) : !isDeepStrictEqual(value, before)
  const expected = kind === 'protected' && isChanged ? 'refused' : expect.stringMatching(/^(?:refused|accepted)$/)
  const told = { name: each.name, path: path.join('.'), value: JSON.stringify(value)?.slice(0, 200) }
  expect({ ...told, problem: await problemOf(each, world, undefined) }).toEqual({ ...told, problem: expected })
})

/** The trusted root by the library, which does not mind blanks, and a certificate by us here, to write it as PEM. */
const isDecoded = ([first, second]: Path) => first === 'root' || second === 'certificate'

/** Also with blanks or bytes behind a key of the trusted root. */
function isSame(changed: Json | undefined, value: Json | undefined): boolean {
  const bytes = (each: Json | undefined) =>
    typeof each === 'string' ? Buffer.from(each, 'base64').toString('hex') : ''
  return isDeepStrictEqual(changed, value) || (bytes(value) !== '' && bytes(changed).startsWith(bytes(value)))
}

/** `refused`, `accepted` for what is not different from the unchanged evidence, or what is wrong. */
async function problemOf(
  { attach, signer, world }: Case,
  { document, root }: World,
  change: ((bytes: Uint8Array) => Uint8Array) | undefined,
): Promise<string> {
  const found = await judge(attach(document), signer(textOf(root)), change)
  if (typeof found === 'string') return found
  const wanted = await judge(attach(world.document), signer(textOf(world.root)), undefined)
  if (typeof wanted === 'string') return `The unchanged evidence is ${wanted}.`
  const facts = ({ evidence: { kind, predicateType, predicate, proof }, signer: by }: Found) => [
    kind,
    predicateType,
    predicate,
    Buffer.from(proof.signed),
    by,
  ]
  return isDeepStrictEqual(facts(found), facts(wanted)) ? 'accepted' : 'Another content was accepted.'
}

async function judge(
  attached: Attached,
  signer: Signer,
  change: ((bytes: Uint8Array) => Uint8Array) | undefined,
): Promise<Found | string> {
  const read = async (blob: Parameters<Attached['read']>[0]) => {
    const bytes = await attached.read(blob)
    return bytes && change ? change(bytes) : bytes
  }
  const { evidence, refusals } = await readEvidence(image, attached.all, read)
  const messages = refusals.map(({ message }) => message)
  for (const each of evidence) {
    const verdict = await new SignerVerifier().verify(each, signer)
    if ('signer' in verdict) return { evidence: each, signer: verdict.signer }
    messages.push(verdict.refusal.message)
  }
  const isSentence =
    messages.length > 0 &&
    messages.every((each) => /^The (?:image|attachment sha256:\w+) [^\p{Cc}]{5,450}[.…]$/u.test(each))
  return isSentence ? 'refused' : `No sentence: ${messages.join('\n')}`
}

const WRONG: readonly Json[] = [
  null,
  true,
  0,
  -1,
  1e300,
  '',
  ' ',
  'x',
  '\u0000',
  'constructor',
  [],
  [null],
  {},
  { a: 1 },
]
/** In a text of JSON this becomes a list in a list, deeper than a stack. */
const NESTED = '@nested@'
const DEEP = '['.repeat(100_000) + ']'.repeat(100_000)

/** @returns undefined to leave it out. */
function changeValue(value: Json | undefined, other: Json | undefined, dice: Dice): Json | undefined {
  const ways: (() => Json | undefined)[] = [() => undefined, () => dice.one(WRONG), () => other, () => NESTED]
  if (typeof value === 'number')
    ways.push(
      () => value + 1,
      () => value * 1000,
      () => String(value) + dice.below(10),
    )
  if (Array.isArray(value))
    ways.push(
      () => [...value, ...value],
      () => Array(2000).fill(value[0] ?? null),
      () => value.slice(1),
    )
  if (typeof value === 'string') {
    const isBase64 = value.length > 8 && Buffer.from(value, 'base64').toString('base64') === value
    if (isBase64) {
      const decoded = () => changeBytes(Buffer.from(value, 'base64'), dice).toString('base64')
      ways.push(decoded, decoded, decoded, decoded)
    }
    ways.push(
      () => changeBytes(Buffer.from(value), dice).toString(),
      () => value.repeat(1000),
      () => `${value}x`,
      () => ` ${value}`,
    )
  }
  return dice.one(ways)()
}

function changeBytes(bytes: Uint8Array, dice: Dice): Buffer {
  const at = dice.below(bytes.length)
  const [head, tail] = [bytes.subarray(0, at), bytes.subarray(at)]
  const flipped = Buffer.of((tail[0] ?? 0) ^ (1 << dice.below(8)))
  return dice.one([
    () => Buffer.concat([head, flipped, tail.subarray(1)]),
    () => Buffer.concat([head, flipped, tail.subarray(1)]),
    () => Buffer.concat([head, tail.subarray(1)]),
    () => Buffer.concat([head, Buffer.of(dice.below(256)), tail]),
    () => Buffer.from(head),
    () => Buffer.concat([head, Buffer.of(0x30, 0x84, 0xff, 0xff, 0xff, 0xff), tail]),
  ])()
}

function* pathsOf(value: Json, path: Path = []): Generator<Path> {
  if (path.length > 0) yield path
  if (typeof value !== 'object' || value === null) return
  for (const [name, inner] of Object.entries(value)) yield* pathsOf(inner, [...path, name])
}

function at(value: Json | undefined, [name, ...rest]: Path): Json | undefined {
  if (name === undefined) return value
  const inner = typeof value === 'object' && value !== null ? (value as Members)[name] : undefined
  return at(inner, rest)
}

function put(value: Json, [name, ...rest]: Path, wanted: Json | undefined): Json {
  if (name === undefined) return wanted ?? null
  const copy = Array.isArray(value) ? [...value] : { ...(value as Members) }
  const members = copy as Record<string, Json>
  if (rest.length === 0 && wanted === undefined) {
    if (Array.isArray(copy)) copy.splice(Number(name), 1)
    else delete members[name]
  } else members[name] = put(members[name] ?? null, rest, wanted)
  return copy as Json
}

function textOf(value: Json | undefined): string {
  return JSON.stringify(value ?? null).replaceAll(`"${NESTED}"`, DEEP)
}

function plain(value: unknown): Json {
  return JSON.parse(JSON.stringify(value))
}

function fromSimple([payload, annotations]: readonly [Buffer, Readonly<Record<string, string>>]): unknown {
  return {
    payload: payload.toString(),
    signature: annotations['dev.cosignproject.cosign/signature'],
    ...fromAnnotations(annotations),
  }
}

function fromAttestation([envelope, annotations]: readonly [unknown, Readonly<Record<string, string>>]): unknown {
  return { envelope, ...fromAnnotations(annotations) }
}

function fromAnnotations(annotations: Readonly<Record<string, string>>): object {
  const certificate = annotations['dev.sigstore.cosign/certificate']?.replace(/-----.*-----|\s/g, '')
  return { certificate, rekor: JSON.parse(annotations['dev.sigstore.cosign/bundle'] ?? 'null') ?? undefined }
}

/** Annotations that are not texts reach the code as they are. */
function annotationsOf(document: Json): Readonly<Record<string, string>> {
  const { signature, certificate, rekor } = membersOf(document)
  const pem = typeof certificate === 'string' ? pemOf(Buffer.from(certificate, 'base64')) : certificate
  const bundle = rekor === undefined ? undefined : textOf(rekor)
  const all = {
    'dev.cosignproject.cosign/signature': signature,
    'dev.sigstore.cosign/certificate': pem,
    'dev.sigstore.cosign/bundle': bundle,
  }
  return all as unknown as Readonly<Record<string, string>>
}

function membersOf(document: Json | undefined): Members {
  return typeof document === 'object' && document !== null ? (document as Members) : {}
}

function sigOf(document: Json): Attached {
  const { payload } = membersOf(document)
  return new Attached().sig([typeof payload === 'string' ? payload : textOf(payload), annotationsOf(document)])
}

function attOf(document: Json): Attached {
  return new Attached().add('.att', [[DSSE, textOf(membersOf(document).envelope), annotationsOf(document)]])
}
