import { styleText } from 'node:util'
import type { Env } from '../inputs/collect.ts'

/** Lines below the log that are redrawn all the time. */
export type Terminal = ReturnType<typeof createTerminal>

/** The size of the terminal. It is asked for each time, because windows change. */
export type Screen = () => Readonly<{ columns: number; rows: number }>

/** Moves the cursor up to the first of so many lines and erases from there to the end (ECMA-48, CPL and ED). */
const eraseLines = (lines: number) => (lines === 0 ? '' : `\u001b[${lines}F\u001b[J`)

export function createTerminal(print: (text: string) => void, screen: Screen) {
  let shown: readonly string[] = []
  const redraw = (text: string, next: readonly string[]) => {
    const before = eraseLines(shown.length)
    shown = next
    // One write, so that nothing flickers.
    print(`${before}${text}${shown.map((line) => `${line}\n`).join('')}`)
  }
  return {
    // One column stays free, because some terminals wrap a full line.
    columns: () => Math.max(20, screen().columns - 1),
    /** @param text of the log, line ends included. */
    write: (text: string) => redraw(text, shown),
    /** Replaces the lines that are shown. */
    show: (lines: readonly string[]) => redraw('', lines.slice(-Math.max(1, screen().rows - 1))),
    clear: () => {
      if (shown.length > 0) redraw('', [])
    },
  }
}

/** Whether a person watches the terminal. Some CI systems give jobs a terminal too. */
export function isWatched({ CI = '', TERM = '' }: Env): boolean {
  return (CI === '' || CI === 'false') && TERM !== 'dumb'
}

/** no-color.org, and force-color.org for logs that are not terminals but show colours. */
export function wantsColour({ NO_COLOR = '', FORCE_COLOR = '' }: Env, watched: boolean): boolean {
  if (NO_COLOR !== '') return false
  return FORCE_COLOR === '' ? watched : FORCE_COLOR !== '0' && FORCE_COLOR !== 'false'
}

const COLOURS = {
  promoted: 'green',
  planned: 'cyan',
  unchanged: 'dim',
  skipped: 'dim',
  failed: 'red',
  cancelled: 'yellow',
  reverted: 'yellow',
  'error:': 'red',
  'warning:': 'yellow',
  'Failed:': 'red',
} as const

/** Colours the word of a line that tells the outcome. Everything else stays as it is. */
export function paint(text: string): string {
  return text.replace(
    /^(\[\d+\/\d+\] )?(promoted|planned|unchanged|skipped|failed|cancelled|reverted|error:|warning:|Failed:)(?=[ ,])/gm,
    (whole, place: string | undefined, word: keyof typeof COLOURS) =>
      (place === undefined) === word.endsWith(':')
        ? `${place ?? ''}${styleText(COLOURS[word], word, { validateStream: false })}`
        : whole,
  )
}
