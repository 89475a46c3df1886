import { oneLine } from '../core/text.ts'
import { count, formatBytes, formatDuration } from './format.ts'

/** Bytes to send and sent, of one image or of all of them. */
export type Track = { readonly name: string; wanted: number; sent: number; readonly speed: Speed }

/** `rate` is in bytes per second, undefined before the first measurement. */
type Speed = { at: number; sent: number; rate: number | undefined }

/** Milliseconds: long enough for a steady figure, short enough to follow a network that changes. */
const SMOOTHING = 5000
/** Shorter intervals measure buffers, not networks. */
const SHORTEST = 250
/** More images than this push the log off the screen. */
const MOST_LINES = 8
const BAR = 16

export function startTrack(name: string, at: number): Track {
  return { name, wanted: 0, sent: 0, speed: { at, sent: 0, rate: undefined } }
}

/** Exponential moving average of the rate. */
export function measure({ speed, sent }: Track, at: number): void {
  const elapsed = at - speed.at
  if (elapsed < SHORTEST) return
  const current = ((sent - speed.sent) * 1000) / elapsed
  const weight = 1 - Math.exp(-elapsed / SMOOTHING)
  speed.rate = speed.rate === undefined ? current : speed.rate + weight * (current - speed.rate)
  speed.at = at
  speed.sent = sent
}

type Overview = Readonly<{ all: Track; running: readonly Track[]; finished: number; images: number }>

/** What a terminal shows below the log: a line per image that is under way, and one for all. */
export function liveLines({ all, running, finished, images }: Overview, columns: number): string[] {
  // Nothing is to be sent yet: manifests are being read, or tags written.
  const moving = running.filter(({ wanted, sent }) => wanted > sent)
  const shown = moving.length > MOST_LINES ? moving.slice(0, MOST_LINES - 1) : moving
  const hidden = moving.length - shown.length
  const summary = images === 0 ? 'Logging in' : `${finished} of ${count(images, 'image')} done`
  const more = hidden > 0 ? [`and ${count(hidden, 'more image')}`] : []
  if (all.wanted === 0) return [summary]
  const rows = [...shown, { ...all, name: summary }].map((track) => ({
    name: oneLine(track.name),
    figures: figuresOf(track),
    share: track.sent / Math.max(1, most(track)),
  }))
  const widest = Math.max(...rows.map(({ figures }) => figures.length))
  const room = Math.max(12, columns - widest - BAR - 2)
  const width = Math.min(room, Math.max(...rows.map(({ name }) => name.length)))
  const lines = rows.map((row) => `${label(row.name, width)} ${bar(row.share)} ${row.figures}`.slice(0, columns))
  return [...lines.slice(0, -1), ...more, ...lines.slice(-1)]
}

/** A blob that was planned as a mount and copied after all makes more bytes than the plan knew. */
export function most({ wanted, sent }: Track): number {
  return Math.max(wanted, sent)
}

function figuresOf(track: Track): string {
  const { sent } = track
  const rate = track.speed.rate ?? 0
  const missing = most(track) - sent
  const percent = String(Math.floor((100 * sent) / Math.max(1, most(track)))).padStart(3)
  const left = rate > 0 && missing > 0 ? `, ${formatDuration(Math.ceil(missing / rate) * 1000)} left` : ''
  return `${percent}% ${formatBytes(sent)} of ${formatBytes(most(track))}, ${formatBytes(rate)}/s${left}`
}

/** The name's end is what tells images apart, so it is cut in front. */
function label(name: string, width: number): string {
  return name.length <= width ? name.padEnd(width) : `…${name.slice(name.length - width + 1)}`
}

function bar(share: number): string {
  const filled = Math.floor(BAR * share)
  return `${'█'.repeat(filled)}${'░'.repeat(BAR - filled)}`
}
