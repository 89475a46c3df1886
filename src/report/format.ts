const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const

/** `812 B`, `48.1 MiB`, `1.4 GiB`: powers of 1024, one decimal below 100. */
export function formatBytes(bytes: number): string {
  let unit = 0
  let value = Math.max(0, bytes)
  // Rounded before the comparison, so that 1023.99 MiB reads `1 GiB` and never `1024 MiB`.
  while (unit < UNITS.length - 1 && roundForPeople(value) >= 1024) {
    value /= 1024
    unit += 1
  }
  return `${roundForPeople(value)} ${UNITS[unit]}`
}

/** Milliseconds as `0.3s`, `41s`, `2m 5s`, `1h 2m`. */
export function formatDuration(milliseconds: number): string {
  const seconds = Math.max(0, milliseconds) / 1000
  if (seconds < 9.95) return `${Math.round(seconds * 10) / 10}s`
  const whole = Math.round(seconds)
  if (whole < 60) return `${whole}s`
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${whole % 60}s`
  const minutes = Math.round(seconds / 60)
  return `${Math.floor(minutes / 60)}h ${minutes % 60}m`
}

/** `35 MiB/s`. A shorter time than a millisecond counts as one: clocks are no finer. */
export function formatRate(bytes: number, milliseconds: number): string {
  return `${formatBytes((bytes * 1000) / Math.max(1, milliseconds))}/s`
}

/** `1 image`, `2 images`. */
export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`
}

/** Long enough for every message of ours, short enough that one hostile server cannot fill a log. */
const LONGEST_LINE = 4000

/**
 * Foreign text on one line: control characters become blanks, and marks that turn the reading direction (they can make
 * a name look like another one) go.
 */
export function oneLine(text: string, longest: number = LONGEST_LINE): string {
  const line = text
    .replace(/[\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, '')
    .replace(/[\p{Cc}\u2028\u2029]+/gu, ' ')
    .trim()
  return line.length <= longest ? line : `${line.slice(0, longest - 1)}…`
}

function roundForPeople(value: number): number {
  return value < 99.95 ? Math.round(value * 10) / 10 : Math.round(value)
}
