import { github } from './github-by-act.ts'
import { gitlab } from './gitlab-by-gitlab-ci-local.ts'
import { openStage, type Stage } from './stage.ts'

/**
 * `node build/test/bundle/runners/main.js github ACT` and `… gitlab GITLAB-CI-LOCAL`: a sample of docs/samples, run by a
 * program that runs workflows on this machine, from one embedded cluster to another. Ends with 1 when the images are not
 * there afterwards.
 */
const RUNNERS: Readonly<Record<string, (stage: Stage, program: string) => Promise<void>>> = { github, gitlab }

const [name = '', program = ''] = process.argv.slice(2)
const run = RUNNERS[name]
if (run === undefined || program === '') throw new Error(`usage: main.js ${Object.keys(RUNNERS).join('|')} PROGRAM`)
const stage = await openStage()
try {
  await run(stage, program)
} finally {
  await stage.close()
}
