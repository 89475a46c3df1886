import { z } from 'zod'
import { reasonOf } from '../core/errors.ts'
import { quote } from '../core/text.ts'
import { parseYaml } from '../core/yaml.ts'
import { isDigest } from '../oci/digest.ts'
import { parsePlatform } from '../oci/platform.ts'
import type { ImagePair, ImageSet } from './config.ts'
import { parseExclude, parsePair, parseSet } from './images.ts'
import { selectionSchema } from './tag-selection.ts'

/** More images than any cluster has image streams; bounds what one file can make of the memory. */
const MOST_ENTRIES = 10_000
const MOST_PROBLEMS = 20 // problems beyond these are of the same kind

/** Built with the first entry: most runs have no list. */
const entrySchema = z.lazy(() =>
  z.strictObject({
    source: z.string().min(1),
    destination: z.string().min(1).optional(),
    tags: selectionSchema.optional(),
    exclude: z.union([z.string(), z.array(z.string()).min(1).max(100)]).optional(),
    platforms: z.array(z.string()).min(1).optional(),
    'expect-current': z
      .string()
      .refine((text) => text === 'absent' || isDigest(text), 'is neither a digest nor absent')
      .optional(),
  }),
)

/** The file of `image-list`. @param note is told what is wrong with an entry; the others are still read. */
export function parseImageList(text: string, note: (problem: string) => void): (ImagePair | ImageSet)[] {
  let problems = 0
  const say = (problem: string) => {
    problems += 1
    if (problems <= MOST_PROBLEMS) note(problem)
    if (problems === MOST_PROBLEMS + 1) note('and more')
  }
  return readList(text, say).flatMap((entry, index) => {
    try {
      return [readEntry(entry)]
    } catch (thrown) {
      const source = (entry as { source?: unknown } | null)?.source
      say(`entry ${index + 1}${typeof source === 'string' ? ` (${quote(source)})` : ''}: ${reasonOf(thrown)}`)
      return []
    }
  })
}

function readList(text: string, say: (problem: string) => void): readonly unknown[] {
  try {
    const list = parseYaml(text)
    if (Array.isArray(list) && list.length > 0 && list.length <= MOST_ENTRIES) return list
    say(`is not a list of 1 to ${MOST_ENTRIES} images: begin each with "- source:"`)
  } catch (thrown) {
    say(reasonOf(thrown))
  }
  return []
}

function readEntry(entry: unknown): ImagePair | ImageSet {
  const parsed = entrySchema.safeParse(entry)
  if (!parsed.success) throw new Error(describe(parsed.error))
  const { source, destination, tags, 'expect-current': expectCurrent } = parsed.data
  const platforms = parsed.data.platforms?.map(parsePlatform)
  const exclude = parsed.data.exclude && [parsed.data.exclude].flat().map(parseExclude)
  const comma = [source, destination].find((text) => text !== undefined && /[=,\s]/.test(text) && !/^oci/.test(text))
  if (comma !== undefined) throw new Error(`${quote(comma)} is not one image`)
  const image =
    tags === undefined
      ? parsePair(destination === undefined ? source : `${source}=${destination}`)
      : parseSet(source, destination, tags)
  const isSet = 'select' in image
  if (isSet && expectCurrent !== undefined) throw new Error('expect-current is for one tag, not for a selection')
  if (!isSet && exclude !== undefined) throw new Error('exclude is for selections, not for one image')
  return {
    ...image,
    ...(platforms && { platforms }),
    ...(exclude && { exclude }),
    ...(expectCurrent && { expectCurrent: expectCurrent as ImagePair['expectCurrent'] }),
  }
}

/** The first thing that is wrong, as zod found it; what the file says is quoted nowhere but by name. */
function describe({ issues: [issue] }: z.ZodError): string {
  if (issue?.code === 'unrecognized_keys')
    return `${issue.keys.map((key) => quote(key)).join(', ')} is not a member of an entry`
  const where = issue?.path.join('.') ?? ''
  return `${where === '' ? '' : `${where}: `}${issue?.message ?? 'is wrong'}`
}
