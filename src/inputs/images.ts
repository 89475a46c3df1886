import { asPromoteError } from '../errors.ts'
import { formatReference, parseReference, type Reference } from '../oci/reference.ts'
import type { ImagePair } from './config.ts'
import { quote } from './problems.ts'

/** `app:1.2@sha256:…` is none: that is a tag and a digest. */
const USERINFO = /(^|=|\/\/)\s*([^/@:=\s]+):[^/@=\s]+@(?=[^@]*[./])(?!sha\d+:)/
const USERINFO_ALL = new RegExp(USERINFO, 'g')

/** What a line means when it names neither tag nor digest. */
const DEFAULT_TAG = 'latest'

/** Items of a list: one per line or comma; `#` at the start of a line or after a blank begins a comment. */
export function splitList(text: string): string[] {
  return text
    .split(/\r\n|\r|\n/)
    .flatMap((line) => line.replace(/(^|\s)#.*$/, '').split(','))
    .map((item) => item.trim())
    .filter((item) => item !== '')
}

/**
 * `SRC` or `SRC=DST` items. DST without a tag inherits SRC's; SRC alone keeps the name, at the destination's registry.
 * @param note is told what is wrong with an item; the others are still read.
 */
export function parseImages(text: string, note: (problem: string) => void): ImagePair[] {
  const items = splitList(text)
  if (items.length === 0) note('names no image: write SRC or SRC=DST, as in dev/app:1.2=prod/app:1.2')
  return items.flatMap((item) => {
    const pair = parsePair(item)
    if (typeof pair !== 'string') return [pair]
    note(pair)
    return []
  })
}

/** @returns the pair, or what is wrong with it. */
function parsePair(item: string): ImagePair | string {
  const parts = item.split('=').map((part) => part.trim())
  const [from = '', to] = parts
  if (parts.length > 2) return `${shown(item)} has more than one "=": write one SRC=DST per line or comma`
  if (from === '' || to === '') return `${shown(item)} lacks the image ${from === '' ? 'before' : 'after'} "="`

  const source = readReference(from)
  const destination = to === undefined ? undefined : readReference(to)
  if (typeof source === 'string') return source
  if (typeof destination === 'string') return destination
  if (destination?.digest !== undefined)
    return `${shown(item)}: a destination has a tag and never a digest, which the source decides: write ${quote(formatReference({ tag: 'TAG', ...destination, digest: undefined }))}`
  return complete(item, source, destination)
}

function complete(item: string, source: Reference, destination: Reference | undefined): ImagePair | string {
  const sourceTag = source.tag ?? (source.digest === undefined ? DEFAULT_TAG : undefined)
  const tag = destination?.tag ?? sourceTag
  if (tag === undefined)
    return `${shown(item)} names the source by digest alone: give the destination a tag, as in SRC@sha256:…=${destination?.repository ?? source.repository}:TAG`
  return {
    source: { ...source, tag: sourceTag },
    // SRC alone keeps the name, not the registry: that is the destination's own.
    destination: { host: destination?.host, repository: (destination ?? source).repository, tag },
  }
}

function readReference(text: string): Reference | string {
  if (USERINFO.test(text)) return `${shown(text)} holds credentials: they have options of their own`
  try {
    return parseReference(text)
  } catch (thrown) {
    return asPromoteError(thrown).message.replace(/\.$/, '')
  }
}

/** `user:password@registry/…` is no reference, and the password must not end in a log. */
function shown(text: string): string {
  return quote(text.replace(USERINFO_ALL, '$1$2:***@'))
}
