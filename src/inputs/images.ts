import { quote } from '../core/text.ts'
import { asPromoteError } from '../errors.ts'
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
import type { Selection } from './selection.ts'

/** `app:1.2@sha256:…` is none: that is a tag and a digest. */
const USERINFO = /(^|=|\/\/)\s*([^/@:=\s]+):[^/@=\s]+@(?=[^@]*[./])(?!sha\d+:)/
const USERINFO_ALL = new RegExp(USERINFO, 'g')

/** What a line means when it names neither tag nor digest. */
const DEFAULT_TAG = 'latest'

/** Items of a list: one per line or comma; `#` at the start of a line or after a blank begins a comment. */
export function splitList(text: string): string[] {
  return text
    .split(/\r\n|\r|\n/)
    .flatMap((line) => line.replace(/(?<=^|\s)#.*/s, '').split(','))
    .map((item) => item.trim())
    .filter((item) => item !== '')
}

/**
 * `SRC` or `SRC=DST` items; a JSON list of them is read too. DST without a tag inherits SRC's; SRC alone keeps the name, at the
 * destination's registry.
 * @param note is told what is wrong with an item; the others are still read.
 */
export function parseImages(text: string, note: (problem: string) => void): (ImagePair | ImageSet)[] {
  const list = fromJson(text)
  if (list === undefined)
    note(
      'is JSON, but no list of "SRC=DST" texts: write one image per line, or use image-list for entries with choices',
    )
  const lines = joined((list ?? '').split(/\r\n|\r|\n/))
  return splitList(lines)
    .flatMap(splitBlanks)
    .flatMap((item) => {
      const pair = parsePair(item)
      if (typeof pair !== 'string') return [pair]
      note(item.startsWith('=') && lines.includes('\n=') ? `${pair}; a line break stands before it` : pair)
      return []
    })
}

function fromJson(text: string): string | undefined {
  if (!/^\s*[[{"]/.test(text)) return text
  try {
    const list: unknown = [JSON.parse(text)].flat()
    return Array.isArray(list) && list.every((item) => typeof item === 'string') ? list.join('\n') : undefined
  } catch {
    return undefined
  }
}

/** A Tekton result may end in a line break, and no image begins with "@". */
function joined(lines: readonly string[]): string {
  return lines.map((line) => line.trim()).reduce((text, line) => `${text}${line.startsWith('@') ? '' : '\n'}${line}`)
}

/** Blanks separate images where each has its "="; without, `SRC DST` may be one image or two. */
function splitBlanks(item: string): string[] {
  const parts = item
    .split('=')
    .map((part) => part.trim())
    .join('=')
    .split(/\s+/)
  const areImages = parts.every((part) => /^[^=]+=[^=]+$/.test(part) && !isLayout(part) && !/=oci/.test(part))
  return areImages ? parts : [item]
}

/** @returns the pair (with a glob for a tag: the set), or what is wrong with it. */
export function parsePair(item: string): ImagePair | ImageSet | string {
  const parts = item.split('=').map((part) => part.trim())
  const [from = '', to] = parts
  if (parts.length > 2) return `${shown(item)} has more than one "=": write one SRC=DST per line or comma`
  const blank = [from, to ?? ''].find((name) => /\s/.test(name) && !isLayout(name))
  if (blank !== undefined)
    return `${shown(item)} has a blank in it: write one image per line or comma, and "=" between source and destination`
  if (from === '' || to === '') return `${shown(item)} lacks the image ${from === '' ? 'before' : 'after'} "="`

  const [, repository, glob] = isLayout(from) ? [] : (/^([^@]*):([\w.-]*[*?][\w.*?-]*)$/.exec(from) ?? [])
  if (repository !== undefined && glob !== undefined)
    return parseSet(repository, to, { pattern: { kind: 'glob', text: glob } })
  const source = readReference(from)
  const destination = to === undefined ? undefined : readReference(to)
  if (typeof source === 'string') return source
  if (typeof destination === 'string') return destination
  if (destination?.digest !== undefined)
    return `${shown(item)}: a destination has a tag and never a digest, which the source decides: write ${quote(formatReference({ tag: 'TAG', ...destination, digest: undefined }))}`
  return complete(item, source, destination)
}

/** @returns the set, or what is wrong with it. */
export function parseSet(from: string, to: string | undefined, select: Selection): ImageSet | string {
  const source = readReference(from)
  const destination = to === undefined ? undefined : readReference(to)
  if (typeof source === 'string') return source
  if (typeof destination === 'string') return destination
  for (const [text, reference] of [
    [from, source],
    [to ?? '', destination],
  ] as const) {
    if (reference?.layout !== undefined) return `${shown(text)}: tags are selected in registries only`
    if (reference?.tag !== undefined || reference?.digest !== undefined)
      return `${shown(text)}: several tags are promoted from repository to repository: write ${quote(formatReference({ ...reference, tag: undefined, digest: undefined }))}`
  }
  return { source, destination: destination ?? { host: undefined, repository: source.repository }, select }
}

function complete(item: string, source: Reference, destination: Reference | undefined): ImagePair | string {
  const tag = tagFor(source, destination)
  if (tag === undefined) return untagged(item, source, destination)
  if (!isTag(tag)) return `${shown(item)}: ${quote(tag)} is no tag: name the destination with one`
  const into = destinationOf(source, destination, tag)
  if (typeof into === 'string') return `${shown(item)}: name the destination too, because ${into}`
  return { source: sourceOf(source, into), destination: into }
}

/** DST's own, else SRC's. A registry without a tag means `latest`; which image of a layout is meant, something must say. */
function tagFor(source: Reference, destination: Reference | undefined): string | undefined {
  const given = destination?.tag ?? source.tag
  if (given !== undefined || source.digest !== undefined) return given
  const inRegistry = source.layout === undefined || (destination !== undefined && destination.layout === undefined)
  return inRegistry ? DEFAULT_TAG : undefined
}

function destinationOf(
  source: Reference,
  destination: Reference | undefined,
  tag: string,
): ImagePair['destination'] | string {
  if (destination?.layout !== undefined) {
    const { repository } = destination.tag === undefined ? source : destination
    return { layout: destination.layout, repository, tag }
  }
  // SRC alone keeps the name, not the registry: that is the destination's own.
  if (destination !== undefined) return { host: destination.host, repository: destination.repository, tag }
  if (source.layout === undefined) return { host: undefined, repository: source.repository, tag }
  if (source.repository === '') return `${quote(tag)} is a tag alone`
  const name = readReference(layoutName(source.repository, tag))
  return typeof name === 'string' ? name : { host: undefined, repository: name.repository, tag }
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

function readReference(text: string): Reference | string {
  if (!isLayout(text) && USERINFO.test(text)) return `${shown(text)} holds credentials: they have options of their own`
  try {
    return isLayout(text) ? parseLayout(text) : parseReference(text)
  } catch (thrown) {
    return asPromoteError(thrown).message.replace(/\.$/, '')
  }
}

/** `user:password@registry/…` is no reference, and the password must not end in a log. */
function shown(text: string): string {
  return quote(text.replace(USERINFO_ALL, '$1$2:***@'))
}
