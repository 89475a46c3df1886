import { PromoteError } from '../../../src/core/errors.ts'
import { Secrets } from '../../../src/core/secret.ts'
import { collect, type Env } from '../../../src/inputs/collect.ts'
import type { Config } from '../../../src/inputs/config.ts'
import type { HostKind } from '../../../src/inputs/options.ts'
import { parse } from '../../../src/inputs/parse.ts'

/** Files of a test, by path; every other path does not exist. */
export type Files = Readonly<Record<string, string>>

export function reading(files: Files): (path: string) => string {
  return (path) => {
    const text = files[path]
    if (text === undefined) throw new Error('no such file or folder')
    return text
  }
}

export type Given = Readonly<{ argv?: readonly string[]; env?: Env; files?: Files; kind?: HostKind }>

/** Inputs → Config, as the plain host would (or the one of `kind`, which spells `<kind> option`). */
export function configOf({ argv = [], env = {}, files = {}, kind = 'plain' }: Given, secrets = new Secrets()): Config {
  const place = { kind, spell: (option: string) => (kind === 'plain' ? `--${option}` : `${kind} ${option}`) }
  return parse(collect(argv, env, reading(files)), place, secrets, reading(files))
}

/** The lines of the USAGE error, without its title. Empty: no error. */
export function problemsOf(given: Given, secrets = new Secrets()): string[] {
  try {
    configOf(given, secrets)
    return []
  } catch (thrown) {
    if (!(thrown instanceof PromoteError) || thrown.code !== 'USAGE' || thrown.side !== 'input') throw thrown
    return thrown.message
      .split('\n')
      .slice(1)
      .map((line) => line.trim())
  }
}
