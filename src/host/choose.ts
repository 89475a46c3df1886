import { type Env, isAction } from '../inputs/collect.ts'
import type { HostKind } from '../inputs/options.ts'
import { createCliHost, type Streams } from './cli.ts'
import { createGithubHost, createStepHost, loadRunner } from './github.ts'
import type { Host } from './host.ts'
import { createTektonHost } from './tekton.ts'

/** Forgejo and Gitea set GITHUB_ACTIONS too; the Task sets result paths. */
export function hostKind(env: Env): HostKind {
  if (env.GITHUB_ACTIONS === 'true') return 'github'
  return Object.keys(env).some((name) => name.startsWith('IMAGE_PROMOTE_RESULT_')) ? 'tekton' : 'plain'
}

export async function chooseHost(argv: readonly string[], env: Env, streams: Streams): Promise<Host> {
  const kind = hostKind(env)
  if (kind === 'github' && isAction(argv, env)) return createGithubHost(env, await loadRunner())
  if (kind === 'github') return createStepHost(env, await loadRunner(), streams)
  return kind === 'tekton' ? createTektonHost(env, streams) : createCliHost(env, streams)
}
