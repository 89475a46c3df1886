import { median } from './measure.ts'
import type { Scenario } from './scenarios.ts'
import type { Sample } from './stage.ts'
import { OURS, type Tool } from './tools.ts'

/** Every run of every tool in one scenario. */
export type Outcome = Readonly<{
  scenario: Scenario
  samples: ReadonlyMap<Tool, readonly Sample[]>
  /** What to say of a tool that did not do it, or not in time. */
  failures: ReadonlyMap<Tool, string>
}>
/** Seconds of wall time and CPU. */
export type StartUp = Readonly<{ empty: readonly [number, number]; version: readonly [number, number] }>
export type Table = Readonly<{
  title: string
  head: readonly string[]
  rows: readonly (readonly string[])[]
  note: string
  /** Wall time as a part of the fastest peer's; undefined where no peer did it. */
  ratio?: Readonly<{ wall: number; peer: string }> | undefined
}>

const HEAD = ['', 'wall s', 'min-max', 'CPU s', 'peak RSS MiB', 'requests', 'read MiB'] as const
const MIB = 1024 ** 2

type Medians = Sample & Readonly<{ least: number; most: number }>

function medians(samples: readonly Sample[]): Medians {
  const of = (figure: (sample: Sample) => number) => median(samples.map(figure))
  return {
    wall: of((sample) => sample.wall),
    least: Math.min(...samples.map(({ wall }) => wall)),
    most: Math.max(...samples.map(({ wall }) => wall)),
    cpu: of((sample) => sample.cpu),
    rss: of((sample) => sample.rss),
    requests: of((sample) => sample.requests),
    bytes: samples[0]?.bytes === undefined ? undefined : of((sample) => sample.bytes ?? 0),
  }
}

/** @param start seconds that an empty Node takes. */
export function scenarioTable({ scenario, samples, failures }: Outcome, start: number): Table {
  const measured = [...samples].flatMap(([tool, runs]) => (runs.length === 0 ? [] : [{ tool, figures: medians(runs) }]))
  const unmeasured = [...failures].filter(([tool]) => samples.get(tool)?.length === 0)
  const failed = unmeasured.map(([tool, why]) => [labelOf(tool), why])
  const rows = measured.map(({ tool, figures }) => [labelOf(tool), ...cells(figures)])
  const ours = measured.find(({ tool }) => tool === OURS)?.figures
  const before = measured.find(({ tool }) => tool.name === 'before')?.figures
  const peers = measured.filter(({ tool }) => tool !== OURS && tool.counts)
  const [fastest] = peers.toSorted((a, b) => a.figures.wall - b.figures.wall)
  const skopeo = peers.find(({ tool }) => tool.name === 'skopeo')?.figures
  const notes = [
    ...(ours && fastest ? compare(ours, fastest, start) : []),
    ...(ours && fastest && skopeo ? [`CPU ${ratioOf(ours.cpu, skopeo.cpu)} x skopeo`] : []),
    ...(ours && before ? [change(ours, before)] : []),
  ]
  return {
    title: scenario.title,
    head: HEAD,
    rows: [...rows, ...failed],
    note: notes.join('; '),
    ratio: ours && fastest && { wall: ours.wall / fastest.figures.wall, peer: fastest.tool.name },
  }
}

function compare(ours: Medians, { tool, figures }: { tool: Tool; figures: Medians }, start: number): readonly string[] {
  return [
    `wall ${ratioOf(ours.wall, figures.wall)} x ${tool.name}, the fastest peer`,
    // Most of a short run is the start of Node.
    ...(ours.wall < 20 * start
      ? [`${ratioOf(ours.wall - start, figures.wall)} x without the start of an empty Node`]
      : []),
  ]
}

function change(ours: Medians, before: Medians): string {
  const figures = (['wall', 'cpu', 'rss'] as const).map((name) => `${name} ${ratioOf(ours[name], before[name])} x`)
  return `${figures.join(', ')} before`
}

export function startTable({ empty, version }: StartUp): Table {
  const rows = [
    ['empty Node', seconds(empty[0]), seconds(empty[1])],
    ['image-promote --version', seconds(version[0]), seconds(version[1])],
  ]
  return {
    title: 'start-up',
    head: ['', 'wall s', 'CPU s'],
    rows,
    note: `wall ${ratioOf(version[0], empty[0])} x an empty Node`,
  }
}

function cells({ wall, least, most, cpu, rss, requests, bytes }: Medians): string[] {
  return [
    seconds(wall),
    `${seconds(least)}-${seconds(most)}`,
    seconds(cpu),
    (rss / MIB).toFixed(0),
    String(requests),
    bytes === undefined ? '' : (bytes / MIB).toFixed(bytes < 100 * MIB ? 2 : 0),
  ]
}

export function labelOf({ name, version, counts }: Tool): string {
  if (name === OURS.name || name === 'before') return name
  return `${name} ${version}${counts ? '' : ' (does not count)'}`
}

const seconds = (value: number) => value.toFixed(value < 1 ? 3 : 2)
const ratioOf = (value: number, to: number) => (value / to).toFixed(2)

export function asText({ title, head, rows, note: below }: Table): string {
  const line = (row: readonly string[]) =>
    row.map((cell, i) => (i === 0 ? cell.padEnd(32) : cell.padStart(13))).join('')
  return [title, ...[head, ...rows].map(line), below, ''].join('\n')
}

export function asMarkdown({ title, head, rows, note: below }: Table): string[] {
  const line = (row: readonly string[]) => `| ${head.map((_, i) => row[i] ?? '').join(' | ')} |`
  const rule = `|${head.map((_, i) => (i === 0 ? ' --- ' : ' ---: ')).join('|')}|`
  return ['', `### ${title}`, '', line(head), rule, ...rows.map(line), '', `${below}.`]
}
