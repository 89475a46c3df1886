import { appendFileSync, readFileSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { OPTIONS } from '../../src/inputs/options.ts'
import { withPart } from '../bundle/packaging/generate.ts'
import { drawChart } from './chart.ts'
import { MOST_SECONDS, measure, median, Overtime } from './measure.ts'
import { type Files, findRegistry, makeFiles } from './registries.ts'
import { SCENARIOS, type Scenario } from './scenarios.ts'
import { openStage, type Sample, type Stage } from './stage.ts'
import {
  asMarkdown,
  asText,
  labelOf,
  type Outcome,
  type StartUp,
  scenarioTable,
  startTable,
  type Table,
} from './table.ts'
import { earlierBuild, findPeers, OURS, type Tool } from './tools.ts'

/**
 * Side by side with the other tools that copy images, against real registries on this machine:
 * `npm run bench -- [--rounds 5] [--quick | --scale] [--only TEXT] [--before BUNDLE] [--markdown]`. Needs Linux, GNU time and a
 * built bundle.
 */
const DOCUMENT = 'docs/benchmarks.md'
const CHART = 'docs/images/benchmarks.svg'
/** One line for each whole run: date, versions, and the ratio of each scenario. */
const HISTORY = 'docs/benchmarks-history.jsonl'

const { values: flags } = parseArgs({
  options: {
    rounds: { type: 'string' },
    /** The scenarios that a change of the data path moves, three rounds: about three minutes. */
    quick: { type: 'boolean', default: false },
    /** How the cost grows with images, layers, distance, destinations and bytes. */
    scale: { type: 'boolean', default: false },
    /** Part of a scenario's title; may be repeated. */
    only: { type: 'string', multiple: true, default: [] },
    /** Path of another build's `index.js`, measured in the same run. */
    before: { type: 'string' },
    markdown: { type: 'boolean', default: false },
  },
})

const rounds = Number(flags.rounds ?? (flags.quick ? 3 : 5))

const say = (text: string) => process.stdout.write(`${text}\n`)

async function main(): Promise<void> {
  if (flags.markdown && (flags.only.length > 0 || flags.quick || flags.scale))
    throw new Error(`${DOCUMENT} takes the figures of one whole run`)
  const program = findRegistry()
  const peers = findPeers()
  const before = flags.before === undefined ? [] : [earlierBuild(flags.before)]
  const tools = [...(flags.scale ? [] : peers.tools), ...before, OURS]
  const facts = [
    `Machine: ${cpus()[0]?.model}, ${cpus().length} cores, ${process.platform}`,
    `Node: ${process.version}`,
    `Registry: distribution ${program.version}`,
    `Peers: ${peers.tools.map(labelOf).join(', ')}`,
    ...peers.missing.map((one) => `Missing: ${one}`),
  ]
  say(facts.join('\n'))
  const scenarios = SCENARIOS.filter(wanted)
  const files = await makeFiles()
  const remove = () => files.remove().finally(() => process.exit(130))
  process.once('SIGINT', remove).once('SIGTERM', remove)
  try {
    const tables = await measureAll(scenarios, tools, files, (stage) => openStage(program, stage))
    say(`\n${tables.map(asText).join('\n')}`)
    if (flags.markdown) writeDocument(facts, tables)
  } finally {
    await files.remove()
  }
}

function wanted({ title, destinations, quick = false, scale = false }: Scenario): boolean {
  if ((flags.quick && !quick) || flags.scale !== scale) return false
  if (destinations !== undefined && !OPTIONS.some(({ name }) => name === 'destinations')) return false
  return flags.only.length === 0 || flags.only.some((text) => title.includes(text))
}

async function measureAll(
  scenarios: readonly Scenario[],
  tools: readonly Tool[],
  files: Files,
  open: (files: Files) => Promise<Stage>,
): Promise<readonly Table[]> {
  const starts: StartUp[] = []
  const outcomes = scenarios.map((scenario) => ({
    scenario,
    samples: new Map(tools.map((tool): [Tool, Sample[]] => [tool, []])),
    failures: new Map<Tool, string>(),
  }))
  const stage = await open(files)
  try {
    for (const scenario of scenarios) await stage.prepare(scenario)
    for (let round = 0; round < rounds; round += 1) {
      starts.push(await startUp(files))
      for (const outcome of outcomes)
        if (round < (outcome.scenario.rounds ?? rounds)) await oneRound(stage, outcome, round)
      say(`round ${round + 1} of ${rounds} is done`)
    }
  } finally {
    await stage.close()
  }
  const middle = (of: (start: StartUp) => number) => median(starts.map(of))
  const start: StartUp = {
    empty: [middle(({ empty }) => empty[0]), middle(({ empty }) => empty[1])],
    version: [middle(({ version }) => version[0]), middle(({ version }) => version[1])],
  }
  return [startTable(start), ...outcomes.map((outcome: Outcome) => scenarioTable(outcome, start.empty[0]))]
}

type Underway = Readonly<{ scenario: Scenario; samples: ReadonlyMap<Tool, Sample[]>; failures: Map<Tool, string> }>

const TOO_LONG = `> ${MOST_SECONDS}`

/** Every tool once, each round in another order: what happens on the machine meanwhile meets all alike. */
async function oneRound(stage: Stage, { scenario, samples, failures }: Underway, round: number): Promise<void> {
  const tools = [...samples.keys()]
  const first = round % tools.length
  for (const tool of [...tools.slice(first), ...tools.slice(0, first)]) {
    try {
      // Once is enough to know that it takes too long.
      const sample = failures.get(tool) === TOO_LONG ? undefined : await stage.run(scenario, tool)
      if (sample !== undefined) samples.get(tool)?.push(sample)
    } catch (thrown) {
      failures.set(tool, thrown instanceof Overtime ? TOO_LONG : 'failed')
      say(`${scenario.title}: ${labelOf(tool)} failed: ${(thrown as Error).message}`)
      if (tool === OURS) process.exitCode = 1
    }
  }
}

async function startUp(files: Files): Promise<StartUp> {
  const empty = join(files.path, 'empty.mjs')
  writeFileSync(empty, '')
  const runs = { empty: [] as Sample[], version: [] as Sample[] }
  for (let i = 0; i < 7; i += 1) {
    for (const [name, command] of [
      ['empty', [empty]],
      ['version', [resolve('dist/index.js'), '--version']],
    ] as const)
      runs[name].push({ ...(await measure([process.execPath, ...command])), requests: 0, bytes: undefined })
  }
  const middle = (all: readonly Sample[]) =>
    [median(all.map(({ wall }) => wall)), median(all.map(({ cpu }) => cpu))] as const
  return { empty: middle(runs.empty), version: middle(runs.version) }
}

function writeDocument(facts: readonly string[], tables: readonly Table[]): void {
  const date = new Date().toISOString().slice(0, 10)
  const lines = ['', `${date}, medians of ${rounds} rounds.`, '', ...facts.map((fact) => `- ${fact}`)]
  const text = readFileSync(DOCUMENT, 'utf8')
  const generated = { file: DOCUMENT, part: 'figures', lines: [...lines, ...tables.flatMap(asMarkdown), ''] }
  writeFileSync(DOCUMENT, withPart(text, generated))
  writeFileSync(CHART, drawChart(tables))
  const ratios = tables.flatMap(({ title, ratio }) =>
    ratio ? [[title, Number(ratio.wall.toFixed(3)), ratio.peer]] : [],
  )
  appendFileSync(HISTORY, `${JSON.stringify({ date, facts, rounds, ratios })}\n`)
}

await main()
