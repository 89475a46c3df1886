/** Headers of tar archives: POSIX.1-2017 pax, with what GNU tar writes where that differs. Nothing is read or written here. */
import { PromoteError } from '../core/errors.ts'

export const BLOCK = 512
/** A path or a size in a pax header; a layout needs a few hundred bytes at most. */
const LONGEST_EXTENSION = 64 * 1024
/** Files in an archive that are read. */
const MOST_ENTRIES = 200_000

/** The archive as the reader sees it: `take` may give less than asked for at the end of the file. */
export interface Cursor {
  readonly position: number
  take(bytes: number): Promise<Buffer>
  seek(position: number): Promise<void>
}

export type TarEntry = Readonly<{ name: string; size: number; header: number; content: number }>

/** What a size takes in the archive. */
export function padded(size: number): number {
  return Math.ceil(size / BLOCK) * BLOCK
}

/**
 * The regular files of an archive, `./` in front of names removed. Links, folders and devices are passed by: nothing of an
 * archive is ever unpacked.
 * @throws PromoteError PROTOCOL
 */
export async function* readEntries(cursor: Cursor): AsyncGenerator<TarEntry> {
  let extension: { path?: string; size?: number } = {}
  let start = 0
  for (let count = 0; ; count += 1) {
    if (count > MOST_ENTRIES) throw malformed('has too many entries')
    const header = await cursor.take(BLOCK)
    if (header.length === 0 || header.every((byte) => byte === 0)) return
    if (header.length < BLOCK || !isHeader(header))
      throw malformed(count === 0 ? 'is not a tar archive' : 'is damaged or cut off')
    const content = cursor.position
    const type = String.fromCharCode(header[156] ?? 0)
    const prefixes = type === 'x' || type === 'L'
    const size = (prefixes ? undefined : extension.size) ?? number(header, 124, 12)
    if (size === undefined) throw malformed('has an entry without a size')
    if (prefixes) {
      if (size > LONGEST_EXTENSION) throw malformed('has a header that is too long')
      const text = (await cursor.take(size)).toString('utf8')
      extension = type === 'x' ? { ...extension, ...readPax(text) } : { ...extension, path: text.replace(/\0.*$/s, '') }
    } else {
      const name = (extension.path ?? nameOf(header)).replace(/^(?:\.\/)+/, '')
      if (type === '0' || type === '\0' || type === '7') yield { name, size, header: start, content }
      extension = {}
    }
    // The headers in front of an entry belong to it.
    const next = content + padded(size)
    if (!prefixes) start = next
    await cursor.seek(next)
  }
}

/** Sum of all bytes, its own field counted as blanks. */
function isHeader(header: Buffer): boolean {
  return number(header, 148, 8) === sum(header)
}

function sum(header: Buffer): number {
  let total = 8 * 0x20
  for (const [index, byte] of header.entries()) if (index < 148 || index >= 156) total += byte
  return total
}

/** Octal text, or binary with the first bit set (GNU, star). */
function number(header: Buffer, at: number, length: number): number | undefined {
  const field = header.subarray(at, at + length)
  if (((field[0] ?? 0) & 0x80) === 0) {
    const text = field
      .toString('latin1')
      .replace(/(?<![\0 ])[\0 ]+$/, '')
      .trim()
    return /^[0-7]{1,12}$/.test(text) ? Number.parseInt(text, 8) : undefined
  }
  const value = field.subarray(1).reduce((total, byte) => total * 256 + byte, (field[0] ?? 0) & 0x7f)
  return Number.isSafeInteger(value) ? value : undefined
}

function nameOf(header: Buffer): string {
  const text = (at: number, length: number) => header.toString('utf8', at, at + length).replace(/\0.*$/s, '')
  // GNU's own magic keeps other things where POSIX has the prefix.
  const prefix = header.toString('latin1', 257, 263) === 'ustar\0' ? text(345, 155) : ''
  return prefix === '' ? text(0, 100) : `${prefix}/${text(0, 100)}`
}

/** Records `<length> <key>=<value>\n`, the length in bytes and with itself. */
function readPax(text: string): { path?: string; size?: number } {
  const path = /(?:^|\n)\d+ path=([^\n]*)\n/.exec(text)?.[1]
  const size = /(?:^|\n)\d+ size=(\d{1,15})\n/.exec(text)?.[1]
  return { ...(path === undefined ? {} : { path }), ...(size === undefined ? {} : { size: Number(size) }) }
}

/** ustar's octal size ends here; a name of more than 100 bytes (sha512) does not fit either. */
const LARGEST = 8 ** 11 - 1
const LONGEST_NAME = 100

/** Everything in front of the content of a file. */
export function makeHeader(name: string, size: number): Buffer {
  if (name.length <= LONGEST_NAME && size <= LARGEST) return block(name, size, '0')
  const records = Buffer.from(record('path', name) + record('size', String(size)))
  const extension = Buffer.alloc(padded(records.length))
  records.copy(extension)
  const short = name.slice(0, LONGEST_NAME)
  return Buffer.concat([block('pax', records.length, 'x'), extension, block(short, Math.min(size, LARGEST), '0')])
}

function block(name: string, size: number, type: string): Buffer {
  const header = Buffer.alloc(BLOCK)
  const octal = (value: number, at: number, length: number) =>
    header.write(`${value.toString(8).padStart(length - 1, '0')}\0`, at, 'latin1')
  header.write(name, 0, LONGEST_NAME, 'latin1')
  octal(0o644, 100, 8)
  octal(0, 108, 8)
  octal(0, 116, 8)
  octal(size, 124, 12)
  octal(0, 136, 12) // no time: the same images make the same archive
  header.write(type, 156, 'latin1')
  header.write('ustar\u000000', 257, 'latin1')
  header.write(`${sum(header).toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return header
}

function record(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`
  let length = rest.length
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length
  return `${length}${rest}`
}

function malformed(what: string): PromoteError {
  return new PromoteError('PROTOCOL', what)
}
