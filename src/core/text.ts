/**
 * Untrusted text: from a server, a file, a program or an input. Only this file shortens it, quotes it and removes what a
 * terminal or a CI system would execute. Shortened text ends in `…`, which tells `Secrets.redact` that a part of a secret
 * may precede it.
 */

/** ECMA-48: CSI sequences, then OSC, DCS, SOS, PM and APC strings. In other sequences only the escape character is removed. */
const ESCAPES =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is removed
  /(?:\u001b\[|\u009b)[0-?]*[ -/]*[@-~]|(?:\u001b[\]PX^_]|[\u0090\u0098\u009d-\u009f])[^\u0007\u001b\u0090-\u009f\n]*(?:\u0007|\u001b\\|\u009c)/g

/** Control characters but tab and line feed, direction marks (CVE-2021-42574) and characters without width. */
const INVISIBLE = /(?![\t\n])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu

const BREAKS = /[\t\n\v\f\r\u0085\u2028\u2029]+/g

/** Characters of a line. Every message of this program fits, and a hostile server cannot fill a log. */
const LONGEST_LINE = 4000

/** Removes terminal escapes, control characters and invisible characters. Tabs and line feeds stay. */
export function visible(text: string): string {
  return text.replace(ESCAPES, '').replace(INVISIBLE, '')
}

/** At most `limit` characters; shortened text ends in `…`. */
export function cut(text: string, limit: number): string {
  if (text.length <= limit) return text
  const end = text.slice(0, limit - 1)
  return `${/[\ud800-\udbff]$/.test(end) ? end.slice(0, -1) : end}…`
}

/** One visible line of at most `limit` characters. */
export function oneLine(text: string, limit: number = LONGEST_LINE): string {
  return cut(visible(text.replace(BREAKS, ' ')).replace(/ {2,}/g, ' ').trim(), limit)
}

/** One line in double quotes, line breaks as `\n`. */
export function quote(text: string, limit = 120): string {
  return JSON.stringify(cut(visible(text), limit))
}

/** The first names of a list, and `…` if there are more. */
export function listed(names: readonly string[], most = 10): string {
  const shown = names.slice(0, most).map((name) => oneLine(name, 200))
  return [...shown, ...(names.length > most ? ['…'] : [])].join(', ')
}

/** A URL for messages: without user, query and fragment, which may hold signatures and secrets. */
export function displayUrl(url: URL): string {
  return oneLine(`${url.origin}${url.pathname}`, 300)
}

/**
 * What CI systems execute in a log: `::command::` at the start of a line and `##[command]` anywhere (actions/runner
 * ActionCommand.cs), `##vso[` (Azure Pipelines), `##teamcity[`, and the marks of GitLab's sections.
 */
const COMMANDS = /^([^\S\n\r\u2028\u2029]*:)(?=:)|(#)(?=#(?:vso|teamcity)?\[)|(section_(?:start|end))(?=:\d)/gim

/**
 * Inserts a blank into every command of a CI system. A character without width would not do: the runners compare text by
 * the rules of a language, which skip such characters.
 */
export function neutralise(text: string): string {
  return text.replace(COMMANDS, '$& ')
}

/** The same for JSON. The strings keep their values. */
export function neutraliseJson(json: string): string {
  return json.replace(/#(?=#(?:vso|teamcity)?\[)/gi, '\\u0023').replace(/(section_(?:start|end)):(?=\d)/gi, '$1\\u003a')
}

/**
 * Decodes the text of a file. PowerShell's `>` writes UTF-16 with a byte order mark; Windows editors put a mark before UTF-8.
 * @throws Error whose message continues a sentence that begins with the name of the file.
 */
export function decodeText(bytes: Uint8Array): string {
  const [first, second] = bytes
  const marked =
    first === 0xff && second === 0xfe ? 'utf-16le' : first === 0xfe && second === 0xff ? 'utf-16be' : 'utf-8'
  if (marked === 'utf-8' && bytes.includes(0))
    throw new Error('is not text: it is binary, or UTF-16 without a byte order mark; save it as UTF-8')
  try {
    return new TextDecoder(marked, { fatal: true }).decode(bytes)
  } catch {
    throw new Error(`is not ${marked.toUpperCase()} text; save it as UTF-8`)
  }
}
