import type { Bytes, PlannedStep } from '../copy/events.ts'
import { neutraliseJson, oneLine } from '../core/text.ts'
import { renderErrors, renderText } from './closing-text.ts'
import { changeOf, count, formatBytes, formatDuration, formatRate } from './format.ts'
import { liveLines, measure, most, startTrack, type Track } from './live.ts'
import { isMovedEarlier } from './make-report.ts'
import type { Event, Row } from './model.ts'

export type ProgressOptions = Readonly<{
  mode: 'plain' | 'quiet' | 'json'
  /** Milliseconds since the epoch. */
  now: () => number
  live?: boolean // a terminal shows `lines` all the time: no heartbeats. Default false
}>

/** Milliseconds. CI systems kill jobs that print nothing for minutes; more lines would fill the log. */
const HEARTBEAT = 10_000

type Plan = Extract<Event, { event: 'plan' }>

/** `open`: digest → bytes of the blobs that are to be sent and have not arrived yet. */
type Planned = Readonly<{ plan: Plan; open: Map<string, number>; track: Track }>

type State = ReturnType<typeof newState>

export type Progress = Readonly<{
  event(event: Event): void
  beat(): void // prints a heartbeat when one is due; to be called about once a second
  lines(columns: number): string[] // the lines below the log on a terminal, at most `columns` wide
}>

/** Prints events as lines. `plain`: for people. `quiet`: errors only. `json`: one event for each line. */
export function createProgress(print: (line: string) => void, options: ProgressOptions): Progress {
  const still = { beat: () => undefined, lines: () => [] }
  if (options.mode === 'json') return { ...still, event: (event) => print(neutraliseJson(JSON.stringify(event))) }
  if (options.mode === 'plain') return plainProgress(print, options)
  return {
    ...still,
    event: (event) => {
      if (event.event === 'done') for (const line of renderErrors(event.report)) print(line)
    },
  }
}

function plainProgress(print: (line: string) => void, { now, live = false }: ProgressOptions): Progress {
  const state = newState(now())
  const say = (lines: readonly string[]) => {
    if (lines.length > 0) state.lastLine = now()
    for (const line of lines) print(line)
  }
  const beat = () => {
    if (!live) say(heartbeat(state, now()))
  }
  return {
    event: (event) => {
      say(linesFor(state, event, now()))
      if (event.event === 'bytes') beat()
    },
    beat,
    lines: (columns) => {
      const running = unfinished(state).map(({ track }) => track)
      for (const track of [state.all, ...running]) measure(track, now())
      const longest = Math.max(20, ...[...state.plans.values()].map(({ track }) => track.name.length))
      return liveLines({ ...state, finished: state.finished.size, running, longest }, columns)
    },
  }
}

/** What is known of a run that is under way. Tracks count bytes of blobs to send. */
function newState(at: number) {
  return {
    images: 0,
    plans: new Map<number, Planned>(),
    finished: new Set<number>(),
    /** Images that have failed before they had a plan. */
    failed: 0,
    all: startTrack('', at),
    planLineDone: false,
    lastLine: at,
    /** Bytes and time of the last heartbeat: the rate is that of the interval, not of the whole run. */
    lastBeat: undefined as Readonly<{ at: number; sent: number }> | undefined,
  }
}

function linesFor(state: State, event: Event, at: number): string[] {
  switch (event.event) {
    case 'login':
      return [loginLine(event)]
    case 'plan':
      notePlan(state, event, at)
      return planLine(state)
    case 'step':
      settle(state, event)
      return []
    case 'bytes':
      for (const track of tracksOf(state, event.image)) track.sent += event.sent
      return []
    case 'retry':
      return [
        `Retrying ${oneLine(event.what)} in ${formatDuration(event.wait)} (try ${event.attempt}): ${oneLine(event.reason)}`,
      ]
    case 'image':
      if (event.row.error !== null && !state.plans.has(event.image) && !state.finished.has(event.image))
        state.failed += 1
      state.finished.add(event.image)
      state.images = Math.max(state.images, event.images ?? event.image + 1)
      return [...planLine(state), ...imageLines(state, event.image, event.row)]
    case 'done':
      return renderText(event.report)
  }
}

function tracksOf({ all, plans }: State, image: number): Track[] {
  const planned = plans.get(image)
  return planned === undefined ? [all] : [all, planned.track]
}

function unfinished({ plans, finished }: State): Planned[] {
  return [...plans.values()].filter(({ plan }) => !finished.has(plan.image)).sort((a, b) => a.plan.image - b.plan.image)
}

function loginLine({ side, target = side, user, registry }: Extract<Event, { event: 'login' }>): string {
  const name = side === 'source' ? 'Source' : `Destination${target === side ? '' : ` ${oneLine(target)}`}`
  return `${name}: ${user === null ? oneLine(registry) : `logged in to ${oneLine(registry)} as ${oneLine(user)}`}`
}

function notePlan(state: State, plan: Plan, at: number): void {
  const blobs = plan.steps.filter((step) => step.do === 'copy')
  state.images = plan.images
  const open = new Map(blobs.map((step) => [step.digest, step.size]))
  state.plans.set(plan.image, { plan, open, track: startTrack(plan.destination, at) })
  for (const track of tracksOf(state, plan.image)) for (const step of blobs) track.wanted += step.size
}

/** A blob that is there already, or was mounted, is not to be sent any more. */
function settle(state: State, step: Extract<Event, { event: 'step' }>): void {
  const open = state.plans.get(step.image)?.open
  const size = open?.get(step.digest)
  if (size === undefined) return
  open?.delete(step.digest)
  if (step.do === 'skip' || step.do === 'mount') for (const track of tracksOf(state, step.image)) track.wanted -= size
}

/** Printed when every image has a plan, or has failed before it had one. */
function planLine(state: State): string[] {
  const decided = new Set([...state.plans.keys(), ...state.finished])
  if (state.planLineDone || state.plans.size === 0 || decided.size < state.images) return []
  state.planLineDone = true
  const plans = [...state.plans.values()].map(({ plan }) => plan)
  const idle = plans.filter(isIdle).length
  const sum = (pick: (bytes: Bytes) => number) => plans.reduce((total, plan) => total + pick(plan.bytes), 0)
  const there = sum((bytes) => bytes.mounted + bytes.present)
  const others = (name: string, number: number) => (number > 0 ? [`${number} ${name}`] : [])
  const failed = others('failed', state.failed)
  const skipped = others('skipped', state.images - plans.length - state.failed)
  const rows = [`${plans.length - idle} to promote`, `${idle} up to date`, ...skipped, ...failed]
  const images = `Plan: ${count(state.images, 'image')}, ${rows.join(', ')}.`
  const transfer = `${formatBytes(sum((bytes) => bytes.copied))} to transfer`
  const rest = there === 0 ? '' : `, ${formatBytes(there)} need no transfer`
  if (plans.every((plan) => plan.certain || isIdle(plan))) return [`${images} ${transfer}${rest}.`]
  return [`${images} Up to ${transfer}${rest}; what is there already is found on the way.`]
}

function isIdle({ steps }: Plan): boolean {
  return steps.every((step) => step.do === 'skip')
}

function heartbeat(state: State, at: number): string[] {
  const { all, plans, finished, images } = state
  const before = state.lastBeat ?? { at: state.lastLine, sent: 0 }
  if (at - Math.max(before.at, state.lastLine) < HEARTBEAT) return []
  state.lastBeat = { at, sent: all.sent }
  if (plans.size === 0) return ['... logging in and reading manifests']
  const wanted = most(all)
  const percent = wanted === 0 ? 100 : Math.floor((100 * all.sent) / wanted)
  const rate = formatRate(all.sent - before.sent, at - before.at)
  const running = unfinished(state)
  const first = running[0] === undefined ? '' : `: ${oneLine(running[0].plan.destination)}`
  const more = running.length > 1 ? ` and ${running.length - 1} more` : ''
  const done = `${finished.size} of ${count(images, 'image')} done`
  return [`... ${percent}% ${formatBytes(all.sent)} of ${formatBytes(wanted)}, ${rate}, ${done}${first}${more}`]
}

function imageLines(state: State, image: number, row: Row): string[] {
  const { status, error, milliseconds, bytes } = row
  const start = `[${image + 1}/${state.images}] ${wordOf(row)} ${oneLine(row.destination)}`
  if (error !== null) {
    const side = error.side === null ? '' : `, ${error.side}`
    const sent = bytes.copied === 0 ? '' : `, ${formatBytes(bytes.copied)} sent`
    return [`${start} after ${formatDuration(milliseconds)}${sent} [${error.code}${side}]`]
  }
  const platforms = row.platforms.length === 0 ? '' : ` (${oneLine(row.platforms.join(', '))})`
  const attached = row.attached.length === 0 ? [] : [`${row.attached.length} attached`]
  const moved = [...movedWords(bytes, status === 'planned'), ...attached, formatDuration(milliseconds)]
  const line = `${`${start} ${changeOf(row)}`.trimEnd()}${platforms}: ${moved.join(', ')}`
  return status === 'planned' ? [line, ...plannedLines(state.plans.get(image)?.plan)] : [line]
}

function wordOf(row: Row): string {
  if (row.status === 'skipped') return 'skipped, exists already:'
  return isMovedEarlier(row) ? 'unchanged, moved earlier:' : row.status
}

function movedWords({ copied, mounted, present }: Bytes, planned: boolean): string[] {
  const words = planned ? ['to copy', 'to mount', 'there'] : ['copied', 'mounted', 'there']
  return [copied, mounted, present].flatMap((bytes, at) => (bytes > 0 ? [`${formatBytes(bytes)} ${words[at]}`] : []))
}

function plannedLines(plan: Plan | undefined): string[] {
  if (plan === undefined) return []
  const groups = new Map<string, { step: PlannedStep; number: number; bytes: number }>()
  for (const step of plan.steps) {
    if (step.do === 'tag') continue
    const key = `${step.do} ${step.kind} ${step.why}`
    const group = groups.get(key) ?? { step, number: 0, bytes: 0 }
    groups.set(key, { step, number: group.number + 1, bytes: group.bytes + step.size })
  }
  const steps = [...groups.values()].map(({ step, number, bytes }) => {
    return `      ${step.do.padEnd(5)} ${count(number, step.kind)}, ${formatBytes(bytes)}: ${oneLine(step.why)}`
  })
  const tags = plan.tags.map(
    ({ tag, from, to }) =>
      `      tag   ${oneLine(tag)}: ${changeOf({ previousDigest: from, digest: to, error: null })}`,
  )
  return [...steps, ...tags]
}
