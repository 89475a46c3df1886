import { z } from 'zod'
import { quote } from '../core/text.ts'
import { asPromoteError } from '../errors.ts'
import { isDigest } from '../oci/digest.ts'
import { type Platform, parsePlatform } from '../oci/platform.ts'
import { parseYaml } from '../yaml.ts'
import type { ImagePair, ImageSet } from './config.ts'
import { parsePair, parseSet } from './images.ts'
import { reasonOf } from './problems.ts'
import { selectionSchema } from './selection.ts'

/** More images than any cluster has image streams; bounds what one file can make of the memory. */
const MOST_ENTRIES = 10_000
/** Problems beyond these are of the same kind. */
const MOST_PROBLEMS = 20

/** Built with the first entry: most runs have no list. */
const entrySchema = z.lazy(() =>
  z.strictObject({
    source: z.string().min(1),
    destination: z.string().min(1).optional(),
    tags: selectionSchema.optional(),
    platforms: z.array(z.string()).min(1).optional(),
    'expect-current': z
      .string()
      .refine((text) => text === 'absent' || isDigest(text), 'is neither a digest nor absent')
      .optional(),
  }),
)

/**
 * The file of `image-list`: `- source:`, `destination:`, `tags:`, `platforms:`, `expect-current:`.
 * @param note is told what is wrong with an entry; the others are still read.
 */
export function parseImageList(text: string, note: (problem: string) => void): (ImagePair | ImageSet)[] {
  let problems = 0
  const say = (problem: string): undefined => {
    problems += 1
    if (problems <= MOST_PROBLEMS) note(problem)
    if (problems === MOST_PROBLEMS + 1) note('and more')
  }
  const list = attempt(() => parseYaml(text), say)
  if (list === undefined) return []
  if (!Array.isArray(list) || list.length === 0 || list.length > MOST_ENTRIES) {
    say(`is no list of 1 to ${MOST_ENTRIES} images: begin each with "- source:"`)
    return []
  }
  return list.flatMap((entry: unknown, index) => {
    const read = readEntry(entry)
    if (typeof read !== 'string') return [read]
    say(`entry ${index + 1}${nameOf(entry)}: ${read}`)
    return []
  })
}

function readEntry(entry: unknown): ImagePair | ImageSet | string {
  const parsed = entrySchema.safeParse(entry)
  if (!parsed.success) return describe(parsed.error)
  const { source, destination, tags, 'expect-current': expectCurrent } = parsed.data
  const platforms = readPlatforms(parsed.data.platforms)
  if (typeof platforms === 'string') return platforms
  if (tags !== undefined && expectCurrent !== undefined) return 'expect-current is for one tag, not for a selection'
  const comma = [source, destination].find((text) => text !== undefined && /[=,\s]/.test(text) && !/^oci/.test(text))
  if (comma !== undefined) return `${quote(comma)} is not one image`
  const image =
    tags === undefined
      ? parsePair(destination === undefined ? source : `${source}=${destination}`)
      : parseSet(source, destination, tags)
  if (typeof image === 'string') return image
  return {
    ...image,
    ...(platforms === undefined ? {} : { platforms }),
    ...(expectCurrent === undefined ? {} : { expectCurrent: expectCurrent as ImagePair['expectCurrent'] }),
  }
}

function readPlatforms(list: readonly string[] | undefined): readonly Platform[] | undefined | string {
  try {
    return list?.map(parsePlatform)
  } catch (thrown) {
    return asPromoteError(thrown).message
  }
}

/** The first thing that is wrong, as zod found it; what the file says is quoted nowhere but by name. */
function describe({ issues: [issue] }: z.ZodError): string {
  if (issue?.code === 'unrecognized_keys')
    return `${issue.keys.map((key) => quote(key)).join(', ')} is no member of an entry`
  const where = issue?.path.join('.') ?? ''
  return `${where === '' ? '' : `${where}: `}${issue?.message ?? 'is wrong'}`
}

function nameOf(entry: unknown): string {
  const source = (entry as { source?: unknown } | null)?.source
  return typeof source === 'string' ? ` (${quote(source)})` : ''
}

function attempt(read: () => unknown, say: (problem: string) => undefined): unknown {
  try {
    return read() ?? []
  } catch (thrown) {
    return say(reasonOf(thrown))
  }
}
