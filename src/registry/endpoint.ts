import type { Evidence } from '../copy/store.ts'
import type { Context } from '../core/context.ts'
import { type Code, PromoteError, reasonOf, type Side } from '../core/errors.ts'
import { backoff } from '../core/retries.ts'
import type { Login } from '../http/credential.ts'
import {
  acceptsCredential,
  EXPOSE_REGISTRY,
  explainRefusal,
  isEmpty400,
  isOpenShift,
  isUnexposed,
  saysExpired,
} from '../http/quirks.ts'
import { registryError } from '../http/response.ts'
import type { Digest } from '../oci/digest.ts'
import { discard, type Request, type Response, type Send } from '../transport/request.ts'

export type Access = 'pull' | 'push'

export type RegistryOptions = Readonly<{
  side: Side
  /** `https://host[:port]`, or `http://…` when the user said so. */
  base: URL
  /** Carries the credential of this registry to `base` and nowhere else. */
  send: Send
  repository: string
  /** It will be written to: one token for reading and writing, where a second one would be a round trip more. */
  writes?: boolean | undefined
  /** What the credential is, for messages; nothing configured when absent. */
  login?: Pick<Login, 'describe' | 'current'> | undefined
  /** Blobs and manifests that the store certainly has, where one call tells (OpenShift's image stream layers). */
  inventory?: (() => Promise<ReadonlySet<Digest> | undefined>) | undefined
  /** What answers of the registry prove, where something else than the registry knows it (OpenShift's API). */
  evidence?: (() => Promise<Evidence>) | undefined
  /** Removes a tag where the registry's own DELETE does not (OpenShift's API). */
  removeTag?: ((tag: string) => Promise<boolean>) | undefined
  /** Turns a refusal into its cause, where something else than the registry knows it (OpenShift's API). */
  explain?: ((error: PromoteError, access: Access, tag?: string) => Promise<PromoteError>) | undefined
  /** Milliseconds without a byte before a connection counts as stalled; default 60 s. */
  stallTimeout?: number | undefined
  context: Context
}>

/** One repository of a registry on the wire: addresses, scopes, and the judgement of refusals. */
export type Endpoint = ReturnType<typeof createEndpoint>

/** How often OpenShift's empty 400 is tried again: its registry could not reach the API, mostly for a moment. */
const EMPTY_400_TRIES = 3

export function createEndpoint(options: RegistryOptions) {
  const { side, base, repository, context } = options
  const name = nameOf(options)
  const scopes = scopesOf(repository)
  const sendScoped = async (access: Access, request: Request): Promise<Response> => {
    const scoped = { ...request, scopes: [...scopes[access], ...(request.scopes ?? [])] }
    for (let attempt = 1; ; attempt += 1) {
      const res = await options.send(scoped)
      isOpenShiftHere ||= isOpenShift(res)
      if (attempt > EMPTY_400_TRIES || request.retry === false || !isEmpty400(res, repository)) return res
      await discard(res)
      context.log.debug(`${name}: 400 without a body, the registry may have lost its API server; trying again`)
      await context.sleep(backoff(attempt, context.random, { first: 1000 }))
    }
  }
  let isOpenShiftHere = false
  const asked = options.evidence && askOnce(options.evidence, context)
  let isWide = options.writes === true
  const call = async (access: Access, request: Request): Promise<Response> => {
    if (access === 'push' || !isWide) return sendScoped(access, request)
    try {
      return await sendScoped('push', request)
    } catch (thrown) {
      // A token service that refuses what exceeds the account's rights; an account that may only read can still find everything unchanged.
      if (!(thrown instanceof PromoteError && thrown.status === 403)) throw thrown
      isWide = false
      return sendScoped('pull', request)
    }
  }
  return {
    side,
    name,
    repository,
    base,
    context,
    stallTimeout: options.stallTimeout ?? 60_000,
    async evidence(): Promise<Evidence | undefined> {
      if (asked !== undefined) return (await asked()) ?? NOT_KNOWN
      // Without the cluster's API nothing is known of what OpenShift's registry may pull through.
      return isOpenShiftHere ? NOT_KNOWN : undefined
    },
    /** `manifests/latest` → its address. */
    url: (path: string) => new URL(`/v2/${repository}${path && '/'}${path}`, base),
    /** Sends with the scopes that `access` needs; any status resolves. */
    call,
    /** What a refusal means. Consumes the answer. */
    toError: (res: Response, what: string, access: Access, tag?: string) =>
      toPromoteError(options, res, what, access, tag),
  }
}

function nameOf({ base, repository }: RegistryOptions): string {
  return `${base.host}/${repository}`
}

function scopesOf(repository: string): Readonly<Record<Access, readonly string[]>> {
  const pull = repository === CATALOG ? 'registry:catalog:*' : `repository:${repository}:pull`
  return { pull: [pull], push: [`repository:${repository}:pull,push`] }
}

/** In the place of a repository: the list of all of them (distribution's `_catalog`). */
export const CATALOG = '_catalog'

const NOT_KNOWN: Evidence = { imports: 'unknown', named: undefined }

/** Asks once. A failure is logged and gives undefined, because the answer is only an optimisation. */
export function askOnce<T>(ask: () => Promise<T | undefined>, { signal, log }: Context): () => Promise<T | undefined> {
  let asked: Promise<T | undefined> | undefined
  return () => {
    asked ??= ask().catch((thrown: unknown) => {
      if (signal.aborted) throw thrown
      log.debug(`no inventory: ${reasonOf(thrown)}`)
      return undefined
    })
    return asked
  }
}

/** A registry that redirects to another one, which refuses. */
function refusedElsewhere(error: PromoteError, host: string, { base, side }: RegistryOptions): PromoteError {
  return error.with({
    code: error.status === 401 ? 'CREDENTIAL_MISSING' : 'DENIED',
    message: `${error.message} It was ${host} that refused, to which ${base.host} redirects.`,
    hint: `No credential of ${base.host} goes to another host. Name ${host} in the reference instead, with an entry for it in ${side}-auth-file.`,
  })
}

async function toPromoteError(options: RegistryOptions, res: Response, what: string, access: Access, tag?: string) {
  const name = nameOf(options)
  const redact = (text: string) => options.context.secrets.redact(text)
  const error = await registryError(res, { side: options.side, what: `${name}: ${what}`, redact })
  const recoded = (code: Code, hint: string) => error.with({ code, hint, transient: false, retryAfter: undefined })
  if (isUnexposed(res, error.message))
    return recoded(
      'NOT_EXPOSED',
      `No route leads to ${options.base.host}. If it is OpenShift's own registry, let a cluster administrator run: ${EXPOSE_REGISTRY}`,
    )
  if (isEmpty400(res, options.repository))
    return recoded('UNAVAILABLE', 'OpenShift answers so when its registry cannot reach the API: run again later.')
  const { status } = res
  const { host } = res.url
  const said =
    error.server.map((entry) => `${entry.code} ${entry.message}`).join('; ') || error.message.slice(name.length)
  const isExpired = (status === 400 || status === 403) && saysExpired(said)
  if (res.leftOrigin === true && (status === 401 || status === 403)) return refusedElsewhere(error, host, options)
  const isForApi = status === 403 && options.explain !== undefined
  if (status !== 401 && !isForApi && !isExpired && error.code !== 'RATE_LIMITED') {
    const known = explainRefusal({ status, said, access, host, repository: options.repository })
    if (known !== undefined) return recoded(known.code, known.hint)
  }
  if (status !== 401 && status !== 403 && !isExpired) return error
  const credential = await options.login?.current()
  const owner = options.login === undefined ? 'no credential' : options.login.describe
  const right = access === 'push' ? `push to ${name}` : `pull from ${name}`
  if (options.login !== undefined && credential?.kind === 'anonymous')
    return recoded(
      'CREDENTIAL_MISSING',
      `Give the ${options.side} a credential that may ${right}: user and password, token, or auth file.`,
    )
  const refused =
    isExpired || (status === 401 && !(await acceptsCredential(options.send, options.base).catch(() => true)))
      ? recoded(
          credential?.kind === 'basic' ? 'LOGIN_REJECTED' : 'TOKEN_REJECTED',
          `The registry does not accept the ${options.side}'s credential (${owner}) at all: it is wrong, expired or revoked, and it cannot be renewed. Give a new one.`,
        )
      : recoded('DENIED', `Let the ${options.side}'s account (${owner}) ${right}.`)
  return (await options.explain?.(refused, access, tag)) ?? refused
}
