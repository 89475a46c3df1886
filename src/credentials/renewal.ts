import type { Context } from '../context.ts'
import type { Credential, Login, RenewedBy } from '../credential.ts'
import type { Secret } from '../secret.ts'

/** A clock that is off, or a file that can't be read just now, must not make every request ask again. Milliseconds. */
const PAUSE = 10_000

/** A credential with the time (milliseconds since the epoch) from which `current()` asks for the next one. */
export type Issued = Readonly<{ credential: Credential; renewAt?: number | undefined }>

/**
 * A login that can be asked again: a rotated file, a helper, an exec plugin. `issue` runs once at a time, whoever
 * waits for it; when it gives nothing, the credential at hand stays.
 */
export function renewableLogin(
  { describe, renewedBy }: Readonly<{ describe: string; renewedBy: RenewedBy }>,
  first: Issued,
  issue: () => Promise<Issued | undefined>,
  context: Context,
): Login {
  let latest = first
  let pending: Promise<void> | undefined
  let asked = Number.NEGATIVE_INFINITY
  const due = () => (latest.renewAt ?? Number.POSITIVE_INFINITY) <= context.now() && asked + PAUSE <= context.now()
  const renewOnce = (): Promise<void> => {
    pending ??= issue()
      .then((issued) => {
        latest = issued ?? latest
        asked = context.now()
      })
      .finally(() => {
        pending = undefined
      })
    return pending
  }
  return {
    describe,
    renewedBy,
    current: async () => {
      if (due()) await renewOnce()
      return latest.credential
    },
    renew: async (refused) => {
      if (sameCredential(latest.credential, refused)) await renewOnce()
      return sameCredential(latest.credential, refused) ? undefined : latest.credential
    },
  }
}

export function sameCredential(a: Credential, b: Credential): boolean {
  if (a.kind === 'basic' && b.kind === 'basic')
    return a.username === b.username && a.password.reveal() === b.password.reveal()
  if (a.kind === 'bearer' && b.kind === 'bearer') return a.token.reveal() === b.token.reveal()
  if (a.kind === 'identity' && b.kind === 'identity') return a.refreshToken.reveal() === b.refreshToken.reveal()
  return a.kind === 'anonymous' && b.kind === 'anonymous'
}

/** User and password, with the base64 form that Basic sends kept as well. */
export function basicCredential(username: string, password: string, context: Context): Credential {
  const secret: Secret = context.secrets.keep(password)
  context.secrets.keepPair(username, secret)
  return { kind: 'basic', username, password: secret }
}

/**
 * Undefined when the value cannot be a token: empty, or with spaces, line breaks or other characters that a header
 * does not carry (an error about such a header would quote it).
 */
export function bearerCredential(token: string, context: Context): Credential | undefined {
  const secret = context.secrets.keep(token)
  return /^[\x21-\x7e]+$/.test(token) ? { kind: 'bearer', token: secret } : undefined
}
