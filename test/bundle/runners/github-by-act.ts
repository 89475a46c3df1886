import { cpSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'yaml'
import { ROOT } from '../packaging/files.ts'
import { temporary } from '../run.ts'
import { type Stage, VERSION } from './stage.ts'

/** act takes the action from this checkout, and runs the steps on this machine instead of in a container. */
export async function github(stage: Stage, act: string): Promise<void> {
  const workflow = stage.sample('docs/samples/github-workflow.yml')
  const { uses } = parse(workflow).jobs.promote.steps.find(({ id }: { id?: string }) => id === 'promote')
  stage.file('.github/workflows/promote.yml', workflow)
  const { test, production } = stage
  const vars = { TEST_USERNAME: 'developer', TEST_CA: test.ca.bundle, PRODUCTION_CA: production.ca.bundle }
  const secrets = { TEST_PASSWORD: test.users.developer, PRODUCTION_TOKEN: production.token('developer') }
  await stage.commit(VERSION)
  // Without what is for development: act copies all of it.
  const action = temporary()
  for (const part of ['action.yml', 'dist']) cpSync(join(ROOT, part), join(action.path, part), { recursive: true })
  const text = await stage.run(act, [
    'workflow_dispatch',
    ...['--platform', 'ubuntu-latest=-self-hosted', '--local-repository', `${uses}=${action.path}`],
    ...['--input', `version=${VERSION}`, '--no-cache-server', '--action-offline-mode'],
    ...['--var-file', stage.file('vars', dotenv(vars)), '--secret-file', stage.file('secrets', dotenv(secrets))],
  ])
  action.remove()
  stage.expectPromoted(['prod/api', 'prod/web'].flatMap((path) => [`${path}:${VERSION}`, `${path}:stable`]))
  if (!text.includes(`/prod/api:${VERSION} is sha256:`)) throw new Error('the outputs did not reach the last step')
}

function dotenv(values: Readonly<Record<string, string | undefined>>): string {
  return Object.entries(values)
    .map(([name, value]) => `${name}="${value}"\n`)
    .join('')
}
