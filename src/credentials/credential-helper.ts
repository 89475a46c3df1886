import { z } from 'zod'
import type { Context } from '../core/context.ts'
import { PromoteError, type Side } from '../core/errors.ts'
import { parseJson } from '../core/json.ts'
import { getOrAsk, perRun } from '../core/memo.ts'
import type { Credential } from '../http/credential.ts'
import { basicCredential } from './login.ts'
import { firstLine, runProgram } from './subprocess.ts'

/** What helpers store Docker Hub under. */
const DOCKER_HUB = 'https://index.docker.io/v1/'

/** `docker-credential-<name> get` (github.com/docker/docker-credential-helpers, `credentials.Credentials`). */
const Answer = z.object({ Username: z.string().nullish(), Secret: z.string() })

type Helper = Readonly<{ name: string; host: string; side: Side; timeLimit?: number }>

const answersOf = perRun(() => new Map<string, Promise<Credential | undefined>>())

/**
 * Asks a credential helper; undefined when it knows none for the host. Each (helper, host) is asked once in a run,
 * unless `again`. Throws HELPER.
 */
export function askHelper(helper: Helper, context: Context, again = false): Promise<Credential | undefined> {
  const answers = answersOf(context)
  const key = `${helper.name} ${helper.host}`
  if (again) answers.delete(key)
  return getOrAsk(answers, key, () => ask(helper, context))
}

async function ask(helper: Helper, context: Context): Promise<Credential | undefined> {
  if (!/^[A-Za-z0-9._-]+$/.test(helper.name))
    throw new PromoteError('HELPER', 'The auth file names a credential helper whose name is not a plain word.', {
      side: helper.side,
      hint: 'credsStore and credHelpers take the part after docker-credential-: letters, digits, ".", "_" and "-".',
    })
  if (helper.host !== 'docker.io') return askFor(helper.host, helper, context)
  // docker stores the Hub under its old URL, podman under its name.
  return (await askFor(DOCKER_HUB, helper, context)) ?? (await askFor(helper.host, helper, context))
}

async function askFor(serverUrl: string, { name, host, side, timeLimit }: Helper, context: Context) {
  const command = `docker-credential-${name}`
  const failed = (problem: string) =>
    new PromoteError('HELPER', `The credential helper ${command} ${problem}`, {
      side,
      hint: `Try it by hand: echo ${host} | ${command} get`,
    })
  const what = `credential helper ${command}`
  const hint = `Install ${command} in a folder of PATH, or take its name out of the auth file.`
  const program = { what, command, args: ['get'], input: serverUrl, side, hint, timeLimit }
  const { exitCode, stdout, stderr } = await runProgram(program, context)
  if (exitCode !== 0) {
    if (/credentials not found/i.test(stdout + stderr)) return undefined
    // By the protocol errors go to stdout; an object there would be an answer, and is never quoted.
    const said = firstLine(stderr, context.secrets) || firstLine(stdout.includes('{') ? '' : stdout, context.secrets)
    throw failed(`failed for ${host} (exit code ${exitCode}): ${said === '' ? 'no message' : said}.`)
  }
  const answer = Answer.safeParse(parseJson(stdout)).data
  if (answer === undefined) throw failed('gave an answer that is not {"Username": …, "Secret": …}.')
  return toCredential(answer, context)
}

/** `<token>` as the user says that the secret is an identity token (docker's cli/config/credentials). */
function toCredential(answer: z.infer<typeof Answer>, context: Context): Credential | undefined {
  if (answer.Secret === '') return undefined
  if (answer.Username === '<token>') return { kind: 'identity', refreshToken: context.secrets.keep(answer.Secret) }
  return basicCredential(answer.Username ?? '', answer.Secret, context)
}
