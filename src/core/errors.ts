/** Which part of the promotion an error is about. Tests and reports compare `code` and `side`, never the text. */
export type Side = 'source' | 'destination' | 'input'

/** Every kind of failure. `docs/troubleshooting.md` is indexed by these codes. */
export type Code =
  | 'USAGE' // inputs: several problems, one message
  | 'LOGIN_REJECTED' // user name or password refused
  | 'LOGIN_UNSUPPORTED' // the cluster has no password login for us (SSO only, external OIDC, Kerberos)
  | 'IDENTITY_PROVIDER' // the cluster's identity provider failed or refused to map the user
  | 'NOT_A_CLUSTER' // the URL answers, but not as an API server (console, proxy)
  | 'CREDENTIAL_MISSING' // the server wants one, and none is configured
  | 'TOKEN_REJECTED' // token unknown, expired or revoked
  | 'DENIED' // credential good, right missing
  | 'PROJECT_MISSING' // project absent, or invisible to this user
  | 'STREAM_MISSING' // destination image stream absent and may not be created
  | 'QUOTA' // quota or limit range of the destination
  | 'NOT_EXPOSED' // the registry has no route
  | 'REGISTRY_UNKNOWN' // no way to find the registry's address
  | 'NOT_FOUND' // image, tag or blob absent
  | 'TAG_MISMATCH' // reference with tag and digest that differ
  | 'GUARD' // overwrite or expect-current forbid moving the tag
  | 'TAG_MOVED' // another client has written the tag since it was read
  | 'ABANDONED' // not done, or undone, because another image of the promotion failed
  | 'DIGEST_MISMATCH' // bytes are not what their digest says
  | 'PLATFORM_MISSING' // a wanted platform is not in the index
  | 'SIGNATURE_MISSING' // a signature is required, and there is none
  | 'SIGNATURE_REJECTED' // signatures are there, and none is by a wanted signer
  | 'POLICY' // a rule of the policy is not met, or none is about the image and the destination
  | 'SIGNING' // the promotion record or the image signature was not written
  | 'UNSUPPORTED' // a shape or feature that is not copied (schema 1, …)
  | 'TLS' // unknown CA, wrong host name, expired certificate
  | 'NETWORK' // DNS, refused, reset, cut
  | 'STALLED' // no byte within the stall timeout
  | 'RATE_LIMITED' // 429 to the end
  | 'UNAVAILABLE' // 5xx to the end
  | 'PROTOCOL' // an answer that the protocol does not allow
  | 'HELPER' // credential helper or exec plugin failed
  | 'IO' // a file could not be read or written
  | 'CANCELLED'
  | 'INTERNAL'

export type ErrorDetail = Readonly<{
  side?: Side | undefined
  /** Name of the destination, where side is `destination`. */
  target?: string | undefined
  /** What the user should do next: a sentence or a command. */
  hint?: string | undefined
  cause?: unknown
  /** A retry may succeed: the answer is about a passing condition. */
  transient?: boolean | undefined
  /** HTTP status of the answer. */
  status?: number | undefined
  /** The server's own error codes (`MANIFEST_BLOB_UNKNOWN`, …) with message and detail, bounded. */
  server?: readonly ServerError[] | undefined
  /** Milliseconds after which the server asked to be tried again. */
  retryAfter?: number | undefined
  /** No answer tells whether the tag was written. */
  unconfirmed?: boolean | undefined
}>

/** One entry of the distribution API's error envelope (distribution-spec, "Error Codes"). */
export type ServerError = Readonly<{ code: string; message: string; detail?: unknown }>

export class PromoteError extends Error {
  override readonly name = 'PromoteError'
  readonly code: Code
  readonly side: Side | undefined
  readonly target: string | undefined
  readonly hint: string | undefined
  readonly transient: boolean
  readonly status: number | undefined
  readonly server: readonly ServerError[]
  readonly retryAfter: number | undefined
  readonly unconfirmed: boolean

  constructor(code: Code, message: string, detail: ErrorDetail = {}) {
    super(message, detail.cause === undefined ? undefined : { cause: detail.cause })
    this.code = code
    this.side = detail.side
    this.target = detail.target
    this.hint = detail.hint
    this.transient = detail.transient ?? false
    this.status = detail.status
    this.server = detail.server ?? []
    this.retryAfter = detail.retryAfter
    this.unconfirmed = detail.unconfirmed ?? false
  }

  /** A copy that differs in what is given. */
  with({ code, message, ...detail }: ErrorDetail & Readonly<{ code?: Code; message?: string }>): PromoteError {
    return new PromoteError(code ?? this.code, message ?? this.message, { ...this, cause: this.cause, ...detail })
  }
}

/** Turns any thrown value into a PromoteError. A programming error becomes INTERNAL and keeps its cause. */
export function asPromoteError(thrown: unknown, side?: Side): PromoteError {
  if (thrown instanceof PromoteError)
    return side === undefined || thrown.side !== undefined ? thrown : thrown.with({ side })
  return new PromoteError('INTERNAL', reasonOf(thrown), { side, cause: thrown })
}

/** The message of any thrown value. */
export function reasonOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown)
}

/** For `catch` of a promise: undefined for a PromoteError that fits; everything else is thrown again. */
export function undefinedIf(fits: (error: PromoteError) => boolean): (thrown: unknown) => undefined {
  return (thrown) => {
    if (!(thrown instanceof PromoteError && fits(thrown))) throw thrown
  }
}

/** Exit codes, the same on every host. Only on GitHub, where a step is green or red, `partial` ends as `failed`. */
export const EXIT = { done: 0, failed: 1, usage: 2, partial: 3, interrupted: 130, terminated: 143 } as const
