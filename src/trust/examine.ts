/** What a policy needs to know of an image: its evidence, verified for each signer, and the config of the image. */
import type { Digest } from '../oci/digest.ts'
import type { Descriptor, Manifest } from '../oci/manifest.ts'
import { type Attachment, readEvidence } from './evidence.ts'
import type { SignerVerifier } from './keyless.ts'
import type { CheckedManifest } from './policy.ts'
import type { Policy } from './policy-file.ts'
import { at, isNotarised } from './signature.ts'

/** A manifest, with what is attached to it and, of an index, what is promoted of its children. */
export type Subject = Readonly<{ manifest: Manifest; attachments: readonly Attachment[] }>

/** The blob of at most 4 MiB; undefined when the registry does not have it. What it throws is thrown. */
export type ReadBlob = (blob: Descriptor) => Promise<Uint8Array | undefined>

type Attached = Readonly<{ digest: Digest; subject: Digest; tag: string | null }>

/** @param find what was discovered. */
export function subjectIn(
  attached: readonly Attached[],
  find: (digest: Digest, tag: string | null) => Manifest | undefined,
): (manifest: Manifest) => Subject {
  return (manifest) => {
    const own = attached.filter(({ subject }) => subject === manifest.descriptor.digest)
    const attachments = own.flatMap(({ digest, tag }) => {
      const found = find(digest, tag)
      return found === undefined ? [] : [{ manifest: found, tag }]
    })
    return { manifest, attachments }
  }
}

/** Whether something that is attached says that it signs the manifest. Nothing is verified. */
export async function hasSignature({ manifest, attachments }: Subject, read: ReadBlob): Promise<boolean> {
  const { evidence, refusals } = await readEvidence(manifest, attachments, read)
  if (evidence.some(({ kind, form }) => kind === 'signature' && form !== 'att')) return true
  const { digest } = manifest.descriptor
  for (const { reason, attachment } of refusals) {
    const { links = [] } = attachments.find((each) => each.manifest.descriptor.digest === attachment)?.manifest ?? {}
    for (const { role, descriptor } of reason === 'NOTARY' ? links : []) {
      const bytes = role === 'layer' && descriptor.size <= LARGEST_CONFIG ? await read(descriptor) : undefined
      if (bytes !== undefined && isNotarised(digest, descriptor.mediaType, bytes)) return true
    }
  }
  return false
}

const CONFIG = /^application\/vnd\.(?:oci\.image\.config|docker\.container\.image)\.v1\+json$/
const LARGEST_CONFIG = 4 * 1024 * 1024

export type Examined = Readonly<{ image: CheckedManifest; children: readonly CheckedManifest[] }>

/** Children are examined only where a rule may ask them, configs only where a rule is about age or labels. */
export async function examine(
  { rules, signers }: Policy,
  verifier: SignerVerifier,
  image: Subject,
  children: readonly Subject[],
  read: ReadBlob,
): Promise<Examined> {
  const asksConfig = rules.some((rule) => rule['max-age'] !== undefined || Object.keys(rule.labels).length > 0)
  const asksChildren = asksConfig || rules.some(({ attested }) => attested.length > 0)
  const asked = new Set(rules.flatMap(({ signed, attested }) => [...signed, ...attested].flatMap(({ by }) => by)))
  const wanted = [...signers].filter(([name]) => asked.has(name))
  const examineOne = async ({ manifest, attachments }: Subject): Promise<CheckedManifest> => {
    const { evidence, refusals } = await readEvidence(manifest, attachments, read)
    const checked = evidence.map(async ({ proof, ...each }) => {
      const verdicts = wanted.map(async ([name, signer]) => {
        return [name, await verifier.verify({ ...each, proof }, signer)] as const
      })
      return { ...each, verdicts: new Map(await Promise.all(verdicts)) }
    })
    const { descriptor, annotations } = manifest
    const config = asksConfig ? await readConfig(manifest, read) : {}
    return { digest: descriptor.digest, evidence: await Promise.all(checked), refusals, annotations, ...config }
  }
  const [examined, ...others] = await Promise.all([image, ...(asksChildren ? children : [])].map(examineOne))
  return { image: examined as CheckedManifest, children: others }
}

/** Empty where there is no config of an image, or none that can be read: that is no image without labels. */
async function readConfig({ links }: Manifest, read: ReadBlob): Promise<Pick<CheckedManifest, 'created' | 'labels'>> {
  const config = links.find(({ role }) => role === 'config')?.descriptor
  if (config === undefined || !CONFIG.test(config.mediaType) || config.size > LARGEST_CONFIG) return {}
  const bytes = await read(config)
  try {
    const document: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
    const [created, labels] = [at(document, 'created'), at(document, 'config', 'Labels') ?? {}]
    const texts = Object.entries(labels).filter((entry): entry is [string, string] => typeof entry[1] === 'string')
    return { ...(typeof created === 'string' && { created }), labels: Object.fromEntries(texts) }
  } catch {
    return {}
  }
}

/** The images of an index that are promoted, without BuildKit's attestations, which no machine runs. */
export function leavesBelow(index: Manifest, find: (digest: Digest) => Manifest | undefined): readonly Manifest[] {
  const children = index.links.filter(({ role, descriptor }) => role === 'child' && !isAttestation(descriptor))
  return children.flatMap(({ descriptor }) => {
    const manifest = find(descriptor.digest)
    if (manifest === undefined) return []
    return manifest.shape === 'index' ? leavesBelow(manifest, find) : [manifest]
  })
}

/** By its platform too: what is said to be an attestation, and runs all the same, is a child. */
function isAttestation({ annotations, platform }: Descriptor): boolean {
  const type = annotations?.['vnd.docker.reference.type']
  return type === 'attestation-manifest' && platform?.os === 'unknown' && platform.architecture === 'unknown'
}
