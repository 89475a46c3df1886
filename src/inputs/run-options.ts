import { type Platform, parsePlatform } from '../oci/platform.ts'
import { readTrustOptions } from '../trust/trust-options.ts'
import type { Env } from './collect.ts'
import { readPath } from './path-or-content.ts'
import { type InputReader, isFlag, splitList } from './reader.ts'
import { parseRegistryAuth } from './registry-auth.ts'
import { parseShard } from './shard.ts'

/** The options that are neither images nor of a side. */
export type RunOptions = Readonly<ReturnType<typeof readRunOptions>>

export function readRunOptions(inputs: InputReader) {
  return {
    /** What a tag that exists already means: it is written anyhow, must have the digest already, or must not exist. */
    overwrite: inputs.choice<'always' | 'same' | 'skip' | 'never'>('overwrite'),
    atomic: inputs.flag('atomic'), // no tag moves before everything is there; tags that moved are put back
    failFast: inputs.flag('fail-fast'),
    shard: inputs.parsed('shard', parseShard),
    annotate: inputs.flag('annotate'),
    reads: inputs.text('rollback') ?? inputs.text('plan'), // path of the report of an earlier run
    platforms: platforms(inputs), // undefined: all of them
    referrers: inputs.flag('referrers'),
    requireSigned: inputs.flag('require-signed'), // only what carries a signature; who signed is not looked at
    ...readTrustOptions(inputs, inputs.around.place.spell, (path) => readPath(path, inputs.around.readFile)),
    includeForeign: foreign(inputs.text('include-foreign')),
    skipMissing: inputs.flag('skip-missing'), // what an index or a list of referrers names and the source lacks
    dryRun: inputs.flag('dry-run'),
    jobs: inputs.integer('jobs'), // transfers at once, over all images
    retries: inputs.integer('retries'), // tries in a row without 1 MiB of progress
    stallTimeout: inputs.integer('stall-timeout') * 1000, // milliseconds
    registryAuth: parseRegistryAuth(inputs), // text of an auth file with the entries of `registry-auth`
    report: inputs.text('report'),
    /** Id of the pipeline's run, the same for its tries and its parts on several runners. Undefined: no CI system tells. */
    run: runOf(inputs.around.env),
    progress: inputs.choice<'plain' | 'quiet' | 'json'>('progress'),
    logLevel: inputs.choice<'info' | 'debug'>('log-level'),
    summary: inputs.flag('summary'),
    output: inputs.choice<'text' | 'json'>('output'),
    resultsLimit: inputs.integer('results-limit'), // Tekton: bytes of all results, in the termination message
  }
}

/** Non-distributable layers are fetched from the URLs that their manifests name, or from these hosts only. */
function foreign(text = 'false'): boolean | readonly string[] {
  return isFlag(text) ? text.toLowerCase() === 'true' : splitList(text.toLowerCase())
}

/** Tekton (the Task sets it), GitHub, GitLab, Azure Pipelines, Jenkins. */
const RUN_IDS = ['IMAGE_PROMOTE_RUN_ID', 'GITHUB_RUN_ID', 'CI_PIPELINE_ID', 'BUILD_BUILDID', 'BUILD_TAG']

function runOf(env: Env): string | undefined {
  return RUN_IDS.map((name) => env[name] ?? '').find((id) => id !== '')
}

function platforms(inputs: InputReader): readonly Platform[] | undefined {
  if (splitList(inputs.text('platforms') ?? 'all').every((item) => item === 'all')) return undefined
  return inputs.list('platforms', parsePlatform)
}
