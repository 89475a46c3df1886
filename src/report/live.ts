import { oneLine } from '../core/text.ts'
import { count, formatBytes, formatDuration } from './format.ts'

export type Track = { readonly name: string; wanted: number; sent: number; readonly speed: Speed }

/** `rate` is in bytes per second, undefined before the first measurement. */
type Speed = { since: number; at: number; sent: number; rate: number | undefined }

const SMOOTHING = 5000 // milliseconds; a longer time follows a changing network too slowly, a shorter one is not steady
const SHORTEST = 250 // milliseconds; shorter intervals measure buffers and not the network
const MOST_LINES = 8 // with more lines the log would not be visible
const BAR = 16
const FIGURES = { wide: 51, narrow: 42 } as const // columns of the longest figures
const SETTLED = 2000 // milliseconds from the first byte until the rate is shown
const LONGEST_LEFT = 10 * 3600 // seconds; a longer estimate means that nothing moves, and is not shown

export function startTrack(name: string, at: number): Track {
  return { name, wanted: 0, sent: 0, speed: { since: at, at, sent: 0, rate: undefined } }
}

export function measure({ speed, sent }: Track, at: number): void {
  // The time before the first byte does not count.
  if (sent === 0) speed.at = speed.since = at
  const elapsed = at - speed.at
  if (elapsed < SHORTEST) return
  const current = ((sent - speed.sent) * 1000) / elapsed
  const weight = 1 - Math.exp(-elapsed / SMOOTHING)
  speed.rate = speed.rate === undefined ? current : speed.rate + weight * (current - speed.rate)
  speed.at = at
  speed.sent = sent
}

type Overview = Readonly<{
  all: Track
  running: readonly Track[]
  finished: number
  images: number
  longest: number // characters of the longest name
}>

/** The lines below the log: one for each image that is being copied, and one for all images. */
export function liveLines({ all, running, finished, images, longest }: Overview, columns: number): string[] {
  // Images without bytes to send are not shown: their manifests are being read, or their tags written.
  const moving = running.filter(({ wanted, sent }) => wanted > sent)
  const shown = moving.length > MOST_LINES ? moving.slice(0, MOST_LINES - 1) : moving
  const hidden = moving.length - shown.length
  const summary = images === 0 ? 'Logging in' : `${finished} of ${count(images, 'image')} done`
  const more = hidden > 0 ? [`and ${count(hidden, 'more image')}`] : []
  if (all.wanted === 0) return [summary]
  // A narrow terminal has no room for all of it. Left out first: the amount, then the bar, then the words of the summary.
  const [isWide, hasBar] = [columns >= 100, columns >= 76]
  const total = columns < 76 ? `${finished}/${images} done` : summary
  const rows = [...shown, { ...all, name: total }].map((track) => ({
    name: oneLine(track.name),
    figures: figuresOf(track, isWide),
    share: track.sent / Math.max(1, most(track)),
  }))
  // The width does not depend on the figures, so that the columns do not move.
  const room = columns - (isWide ? FIGURES.wide : FIGURES.narrow) - (hasBar ? BAR + 2 : 1)
  const width = Math.max(12, Math.min(room, longest))
  const drawn = (share: number) => (hasBar ? `${bar(share)} ` : '')
  const lines = rows.map((row) => `${label(row.name, width)} ${drawn(row.share)}${row.figures}`.slice(0, columns))
  return [...lines.slice(0, -1), ...more, ...lines.slice(-1)]
}

/** More bytes than planned are sent when a blob was planned as a mount and is copied after all. */
export function most({ wanted, sent }: Track): number {
  return Math.max(wanted, sent)
}

function figuresOf(track: Track, isWide: boolean): string {
  const { sent, speed } = track
  const missing = most(track) - sent
  const percent = String(Math.floor((100 * sent) / Math.max(1, most(track)))).padStart(3)
  const amount = `${percent}% ${isWide ? `${formatBytes(sent)} ` : ''}of ${formatBytes(most(track))}`
  if (speed.rate === undefined || speed.at - speed.since < SETTLED) return amount
  const left = missing / speed.rate
  const isTold = missing > 0 && left < LONGEST_LEFT
  return `${amount}, ${formatBytes(speed.rate)}/s${isTold ? `, ${formatDuration(Math.ceil(left) * 1000)} left` : ''}`
}

/** Images differ at the end of their names, so a long name is cut at its beginning. */
function label(name: string, width: number): string {
  return name.length <= width ? name.padEnd(width) : `…${name.slice(name.length - width + 1)}`
}

function bar(share: number): string {
  const filled = Math.floor(BAR * share)
  return `${'█'.repeat(filled)}${'░'.repeat(BAR - filled)}`
}
