import { z } from 'zod'
import { PromoteError, type Side } from '../core/errors.ts'
import { type Descriptor, descriptorSchema, type Manifest, MEDIA_TYPE } from '../oci/manifest.ts'
import { describeReferrer } from '../oci/referrer.ts'
import { EMPTY_INDEX, INDEX_LIMIT, type LayoutFiles } from './layout-files.ts'

/** `index.json` of an OCI layout: which names there are, and what is listed without one. */

/** image-spec annotations.md */
const REF_NAME = 'org.opencontainers.image.ref.name'

const indexSchema = z.object({ manifests: z.array(z.unknown()).max(100_000).nullish() }).loose()
type Index = Readonly<{ document: object; entries: readonly Entry[] }>
/** `raw` is written back as it was: other tools' members stay. */
export type Entry = Readonly<{ raw: unknown; descriptor: Descriptor | undefined }>

export type Catalog = ReturnType<typeof createCatalog>

/** Read once, and again before each change, which other images wait for. */
export function createCatalog(storage: LayoutFiles, path: string, side: Side) {
  let known: Promise<Index> | undefined
  let last: Promise<unknown> = Promise.resolve()
  const load = async (): Promise<Index> => {
    const bytes = await storage.index()
    if (bytes === undefined && side === 'source')
      throw new PromoteError('NOT_FOUND', `${path}: there is no OCI layout.`, { side })
    return parseIndex(bytes ?? EMPTY_INDEX, path, side)
  }
  const current = () => (known ??= load())
  return {
    current,
    async find(name: string): Promise<Descriptor | undefined> {
      return (await current()).entries.find(({ descriptor }) => nameIn(descriptor) === name)?.descriptor
    },
    async names(): Promise<string[]> {
      return (await current()).entries.flatMap(({ descriptor }) => nameIn(descriptor) ?? [])
    },
    change(edit: (entries: readonly Entry[]) => readonly Entry[]): Promise<void> {
      const work = last.then(async () => {
        const { document, entries } = await load()
        const edited = edit(entries)
        const bytes = Buffer.from(JSON.stringify({ ...document, manifests: edited.map(({ raw }) => raw) }))
        if (bytes.length > INDEX_LIMIT)
          throw new PromoteError('UNSUPPORTED', `${path}: its index gets too long.`, { side })
        await storage.writeIndex(bytes)
        known = Promise.resolve({ document, entries: edited })
      })
      last = work.catch(() => undefined)
      return work
    },
  }
}

function parseIndex(bytes: Uint8Array, path: string, side: Side): Index {
  try {
    const { manifests, ...document } = indexSchema.parse(JSON.parse(Buffer.from(bytes).toString('utf8')))
    const entries = (manifests ?? []).map((raw): Entry => ({ raw, descriptor: descriptorSchema.safeParse(raw).data }))
    return { document: { schemaVersion: 2, mediaType: MEDIA_TYPE.ociIndex, ...document }, entries }
  } catch (thrown) {
    throw new PromoteError('PROTOCOL', `${path}: index.json is not an image index.`, { side, cause: thrown })
  }
}

function nameIn(descriptor: Descriptor | undefined): string | undefined {
  return descriptor?.annotations?.[REF_NAME]
}

/** A name stands for one manifest. What is attached to another is listed without a name, so that it can be found. */
export function enter(entries: readonly Entry[], manifest: Manifest, name: string | undefined): Entry[] {
  const { artifactType, annotations, ...plain } = describeReferrer(manifest)
  const type = manifest.artifactType === undefined ? {} : { artifactType: manifest.artifactType }
  const descriptor = { ...plain, ...type, ...(name === undefined ? {} : { annotations: { [REF_NAME]: name } }) }
  const listed = entries.some((entry) => entry.descriptor?.digest === plain.digest)
  if (name === undefined && listed) return [...entries]
  const others = name === undefined ? entries : withoutName(entries, name)
  return [...others, { raw: descriptor, descriptor }]
}

export function withoutName(entries: readonly Entry[], name: string): Entry[] {
  return entries.filter(({ descriptor }) => nameIn(descriptor) !== name)
}
