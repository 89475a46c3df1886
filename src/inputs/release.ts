import { quote } from '../core/text.ts'
import { type Digest, isDigest } from '../oci/digest.ts'
import type { Config, ImagePair, ImageSet } from './config.ts'
import { readPath } from './content.ts'
import { parseImageList } from './image-list.ts'
import { parseImages } from './images.ts'
import { type ReadFile, reasonOf, type Say } from './problems.ts'
import { readRollback } from './rollback-file.ts'
import { describeSelection } from './selection.ts'
import { parseShard } from './shard.ts'

export type Release = Pick<
  Config,
  'images' | 'sets' | 'overwrite' | 'atomic' | 'failFast' | 'shard' | 'annotate' | 'rollback'
>

export type ReleaseInputs = Readonly<{
  text(name: string): string | undefined
  flag(name: string): boolean
  say: Say
  spell(option: string): string
  readFile: ReadFile
}>

/** What is promoted, and on which conditions. */
export function parseRelease(inputs: ReleaseInputs): Release {
  const { text, flag, say, spell } = inputs
  const lines = linesOf(inputs)
  const sets = lines.filter((line): line is ImageSet => 'select' in line)
  const release: Release = {
    images: expecting(
      lines.filter((line): line is ImagePair => !('select' in line)),
      sets,
      inputs,
    ),
    sets,
    overwrite: text('overwrite') as Config['overwrite'],
    atomic: flag('atomic'),
    failFast: flag('fail-fast'),
    shard: shardOf(inputs),
    annotate: flag('annotate'),
    rollback: fromFile(inputs, 'rollback', readRollback),
  }
  if (sets.length > 0 && text('additional-tags') !== undefined)
    say(
      'additional-tags',
      `go with images that are named one by one, not with ${quote(describeSelection(sets[0]?.select ?? {}))}`,
    )
  if (release.atomic && text('shard') !== undefined)
    say('shard', `is excluded by ${spell('atomic')}: the parts of a list know nothing of each other`)
  if (release.atomic && text('report') === undefined)
    say('atomic', `needs ${spell('report')}, which keeps the digests that the tags had before`)
  return release
}

/** A set as if it were one image, to find what is wrong with its names. */
export function likeImage({ source, destination, select }: ImageSet): ImagePair {
  const tag = describeSelection(select)
  return { source: { ...source, tag }, destination: { ...destination, tag } }
}

const EXCLUDED = ['images', 'image-list', 'additional-tags', 'shard', 'expect-current'] as const

function linesOf(inputs: ReleaseInputs): readonly (ImagePair | ImageSet)[] {
  const { text, flag, say, spell } = inputs
  if (text('rollback') !== undefined) {
    for (const name of EXCLUDED)
      if (text(name) !== undefined) say(name, `is excluded by ${spell('rollback')}, whose report names the tags`)
    for (const name of ['atomic', 'annotate']) if (flag(name)) say(name, `is excluded by ${spell('rollback')}`)
    return []
  }
  const given = text('images') ?? ''
  const listed = fromFile(inputs, 'image-list', (file) => parseImageList(file, (problem) => say('image-list', problem)))
  const named = parseImages(given, (problem) => say('images', problem))
  if (named.length === 0 && text('image-list') === undefined && isEmpty(given))
    say('images', 'names no image: write SRC or SRC=DST, as in dev/app:1.2=prod/app:1.2')
  return [...named, ...(listed ?? [])]
}

function isEmpty(list: string): boolean {
  return list.split(/[\r\n]+/).every((line) => /^[\s,]*(?:#.*)?$/.test(line))
}

function expecting(images: readonly ImagePair[], sets: readonly ImageSet[], { text, say }: ReleaseInputs): ImagePair[] {
  const expected = text('expect-current')
  if (expected === undefined) return [...images]
  if (expected !== 'absent' && !isDigest(expected))
    say('expect-current', `${quote(expected)} is neither a digest, sha256:…, nor absent`)
  else if (images.length !== 1 || sets.length > 0)
    say('expect-current', 'goes with one image; in image-list each entry may have its own')
  else if (text('additional-tags') !== undefined)
    say('expect-current', 'goes with one tag: promote the additional tags by themselves')
  return images.map((image) => ({ ...image, expectCurrent: expected as Digest | 'absent' }))
}

function shardOf({ text, say }: ReleaseInputs): Config['shard'] {
  const given = text('shard')
  const shard = given === undefined ? undefined : parseShard(given)
  if (shard === undefined || !('wrong' in shard)) return shard
  say('shard', shard.wrong)
  return undefined
}

function fromFile<T>(
  { text: given, say, readFile }: ReleaseInputs,
  name: string,
  read: (text: string) => T,
): T | undefined {
  const path = given(name)
  if (path === undefined) return undefined
  let text: string | undefined
  try {
    text = readPath(path, readFile)
    return read(text)
  } catch (thrown) {
    say(name, `${text === undefined ? '' : `${quote(path)}: `}${reasonOf(thrown)}`)
    return undefined
  }
}
