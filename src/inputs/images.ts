import { asPromoteError, reasonOf } from '../core/errors.ts'
import { parseJson } from '../core/json.ts'
import { quote } from '../core/text.ts'
import {
  formatReference,
  isLayout,
  isTag,
  layoutName,
  parseLayout,
  parseReference,
  type Reference,
} from '../oci/reference.ts'
import type { ImagePair, ImageSet } from './config.ts'
import { splitList } from './reader.ts'
import { describeSelection, onlyTag, type Selection } from './tag-selection.ts'

/** `app:1.2@sha256:…` is none: that is a tag and a digest. */
const USERINFO = /(^|=|\/\/)\s*([^/@:=\s]+):[^/@=\s]+@(?=[^@]*[./])(?!sha\d+:)/
const USERINFO_ALL = new RegExp(USERINFO, 'g')

const SEPARATORS = 'write one image per line or comma, and "=" between source and destination'

const DEFAULT_TAG = 'latest'
/** In the place of `*` while a reference is checked. */
const STAND_IN = 'z0name0z'

/**
 * `SRC` or `SRC=DST` items; a JSON list of them is read too. DST without a tag inherits SRC's; SRC alone keeps the name, at the
 * destination's registry.
 * @param note is told what is wrong with an item; the others are still read.
 */
export function parseImages(text: string, note: (problem: string) => void): (ImagePair | ImageSet)[] {
  const list = fromJson(text)
  const advice = 'write one image per line, or use image-list for entries with choices'
  if (list === undefined) note(`is JSON, but no list of "SRC=DST" texts: ${advice}`)
  const lines = joined((list ?? '').split(/\r\n|\r|\n/))
  return splitList(lines)
    .flatMap(splitBlanks)
    .flatMap((item) => {
      try {
        return [parsePair(item)]
      } catch (thrown) {
        const isBroken = item.startsWith('=') && lines.includes('\n=')
        note(isBroken ? `${reasonOf(thrown)}; a line break stands before it` : reasonOf(thrown))
        return []
      }
    })
}

function fromJson(text: string): string | undefined {
  if (!/^\s*[[{"]/.test(text)) return text
  const list = [parseJson(text)].flat()
  return list.every((item) => typeof item === 'string') ? list.join('\n') : undefined
}

/** A Tekton result may end in a line break, and no image begins with "@". */
function joined(lines: readonly string[]): string {
  return lines.map((line) => line.trim()).reduce((text, line) => `${text}${line.startsWith('@') ? '' : '\n'}${line}`)
}

/** Blanks separate images where each has its "="; without, `SRC DST` may be one image or two. */
function splitBlanks(item: string): string[] {
  const parts = item.replace(/\s+/g, ' ').replace(/ ?= ?/g, '=').split(' ')
  const areImages = parts.every((part) => /^[^=]+=[^=]+$/.test(part) && !isLayout(part) && !/=oci/.test(part))
  return areImages ? parts : [item]
}

/** @returns the pair, or the set for a glob. @throws Error whose message follows the name of the option. */
export function parsePair(item: string): ImagePair | ImageSet {
  const parts = item.split('=').map((part) => part.trim())
  const [from = '', to] = parts
  if (parts.length > 2) throw new Error(`${shown(item)} has more than one "=": write one SRC=DST per line or comma`)
  if ([from, to ?? ''].some((name) => /\s/.test(name) && !isLayout(name)))
    throw new Error(`${shown(item)} has a blank in it: ${SEPARATORS}`)
  if (from === '' || to === '')
    throw new Error(`${shown(item)} lacks the image ${from === '' ? 'before' : 'after'} "="`)

  // Paths of layouts may have these characters, too.
  const pattern = isLayout(from) ? undefined : /^(?=.*[*?])([^@]*?)(?::([\w.*?-]+))?$/.exec(from)
  const [, repository, glob = DEFAULT_TAG] = pattern ?? []
  if (repository !== undefined) return parseSet(repository, to, { glob })
  const source = readReference(from)
  const destination = to === undefined ? undefined : readReference(to)
  if (destination?.digest !== undefined)
    throw new Error(
      `${shown(item)}: a destination has a tag and never a digest, which the source decides: write ${quote(formatReference({ tag: 'TAG', ...destination, digest: undefined }))}`,
    )
  const tag = tagFor(source, destination)
  if (tag === undefined) throw new Error(untagged(item, source, destination))
  if (!isTag(tag)) throw new Error(`${shown(item)}: ${quote(tag)} is not a valid tag: name the destination with one`)
  const into = destination === undefined ? sameName(item, source, tag) : named(source, destination, tag)
  return { source: sourceOf(source, into), destination: into }
}

/** @throws Error as `parsePair`. */
export function parseSet(from: string, to: string | undefined, select: Selection): ImageSet {
  const source = readRepository(from)
  const destination = to === undefined ? { host: undefined, repository: source.repository } : readRepository(to)
  const mayRename = onlyTag(select) !== undefined && isProject(source)
  for (const [text, reference] of [
    [from, source],
    [to ?? '', destination],
  ] as const) {
    const { layout, tag, digest }: Reference = reference
    if (layout !== undefined) throw new Error(`${shown(text)}: tags are selected in registries only`)
    if (digest !== undefined || (tag !== undefined && !(mayRename && text === to)))
      throw new Error(
        `${shown(text)}: several tags are promoted from repository to repository: write ${quote(formatReference({ ...reference, tag: undefined, digest: undefined }))}`,
      )
  }
  if (isProject(source) === isProject(destination)) return { source, destination, select }
  throw new Error(`${shown(to ?? '')}: "*" stands for the names of repositories on both sides, as in test/*=prod/*`)
}

/** `test/*` and `test/api-*` are repositories of one project; with `**` also those below, as in `test/team/app`. */
function readRepository(text: string): Reference {
  const [stars, ...more] = text.match(/\*+/g) ?? []
  if (stars === undefined || isLayout(text)) return readReference(text)
  const reference = readReference(text.replace(stars, STAND_IN))
  const repository = reference.repository.replace(STAND_IN, stars)
  if (more.length === 0 && /^[^*]*\*{1,2}[^*/]*$/.test(repository)) return { ...reference, repository }
  throw new Error(`${shown(text)}: "*" (or "**") stands once, in the last part of a repository, as in test/*`)
}

/** A pattern of `exclude`: NAME, :TAG or NAME:TAG, with `*` and `?`. @throws Error as `parsePair`. */
export function parseExclude(text: string): string {
  if (/^(?=.)[a-z0-9._/*?-]*(?::[\w.*?-]+)?$/.test(text)) return text
  throw new Error(`${quote(text)} is none of NAME, :TAG and NAME:TAG; * and ? stand for any characters and for one`)
}

/** Whether the repository stands for several. */
export function isProject({ repository }: Reference): boolean {
  return repository.includes('*')
}

export function likeImage({ source, destination, select }: ImageSet): ImagePair {
  const tag = describeSelection(select)
  return { source: { ...source, tag }, destination: { ...destination, tag: destination.tag ?? tag } }
}

/** DST's own, else SRC's. A registry without a tag means `latest`; which image of a layout is meant, something must say. */
function tagFor(source: Reference, destination: Reference | undefined): string | undefined {
  const given = destination?.tag ?? source.tag
  if (given !== undefined || source.digest !== undefined) return given
  const inRegistry = source.layout === undefined || (destination !== undefined && destination.layout === undefined)
  return inRegistry ? DEFAULT_TAG : undefined
}

function named(source: Reference, destination: Reference, tag: string): ImagePair['destination'] {
  const { layout, host } = destination
  if (layout === undefined) return { host, repository: destination.repository, tag }
  return { layout, repository: (destination.tag === undefined ? source : destination).repository, tag }
}

/** SRC alone keeps the name, not the registry: that is the destination's own. */
function sameName(item: string, { layout, repository }: Reference, tag: string): ImagePair['destination'] {
  if (layout === undefined) return { host: undefined, repository, tag }
  try {
    if (repository === '') throw new Error(`${quote(tag)} is a tag alone`)
    return { host: undefined, repository: readReference(layoutName(repository, tag)).repository, tag }
  } catch (thrown) {
    throw new Error(`${shown(item)}: name the destination too, because ${reasonOf(thrown)}`)
  }
}

function sourceOf(source: Reference, into: ImagePair['destination']): Reference {
  if (source.tag !== undefined || source.digest !== undefined) return source
  if (source.layout === undefined) return { ...source, tag: DEFAULT_TAG }
  return { layout: { ...source.layout, assumed: true }, repository: into.repository, tag: into.tag }
}

function untagged(item: string, source: Reference, destination: Reference | undefined): string {
  const { layout, repository } = destination ?? source
  if (source.digest === undefined)
    return `${shown(item)} does not say which image: name it, as in ${formatReference({ layout: source.layout, repository: 'namespace/name', tag: 'tag' })}`
  const example = formatReference({ layout, repository, tag: 'TAG' })
  return `${shown(item)} names the source by digest alone: give the destination a tag, as in SRC@sha256:…=${example}`
}

/** @throws Error as `parsePair`. */
export function readReference(text: string): Reference {
  if (!isLayout(text) && USERINFO.test(text))
    throw new Error(`${shown(text)} holds credentials: they have options of their own`)
  try {
    return isLayout(text) ? parseLayout(text) : parseReference(text)
  } catch (thrown) {
    throw new Error(asPromoteError(thrown).message.replace(/\.$/, ''))
  }
}

/** `user:password@registry/…` is no reference, and the password must not end in a log. */
function shown(text: string): string {
  return quote(text.replace(USERINFO_ALL, '$1$2:***@'))
}
