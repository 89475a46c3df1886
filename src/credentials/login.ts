import { z } from 'zod'
import type { Context } from '../core/context.ts'
import { PromoteError } from '../core/errors.ts'
import { type FileToRead, fileError, readText } from '../core/files.ts'
import { parseJson } from '../core/json.ts'
import { type Credential, type Login, type RenewedBy, sameCredential } from '../http/credential.ts'

/** A login that never changes. */
export function fixedLogin(describe: string, credential: Credential): Login {
  return { describe, current: async () => credential, renew: async () => undefined }
}

/** A clock that is off, or a file that can't be read just now, must not make every request ask again. Milliseconds. */
const PAUSE = 10_000

/** A credential with the time (milliseconds since the epoch) from which `current()` asks for the next one. */
export type Issued = Readonly<{ credential: Credential; renewAt?: number | undefined }>
type Issue = () => Promise<Issued | undefined>
type Name = Readonly<{ describe: string; renewedBy: RenewedBy }>

/**
 * A login that can be asked again: a rotated file, a helper, an exec plugin. `issue` runs once at a time, for all callers
 * that wait for it; if it gives nothing, the present credential stays.
 */
export function renewableLogin({ describe, renewedBy }: Name, first: Issued, issue: Issue, context: Context): Login {
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

/** client-go looks at a token file again after a minute (transport/token_source.go); the kubelet rotates at 80% of its life. */
const READ_AGAIN = 60_000

/** The bearer token in a file that may be rotated while the run goes on. Throws IO when it holds none at the start. */
export function tokenFileLogin(describe: string, file: Omit<FileToRead, 'what'>, context: Context): Login {
  const from = { ...file, what: 'token file' }
  const read = (): Issued => {
    const credential = bearerCredential(readText(from).trim(), context)
    if (credential !== undefined) return { credential, renewAt: context.now() + READ_AGAIN }
    throw fileError(from, 'holds no token.', undefined, 'It should hold the token alone, on one line.')
  }
  const readAgain = async (): Promise<Issued | undefined> => {
    try {
      return read()
    } catch (error) {
      if (!(error instanceof PromoteError)) throw error
      // The token read before may still be good; the server decides.
      context.log.warn(`${error.message} The token read before stays in use.`)
      return undefined
    }
  }
  return renewableLogin({ describe, renewedBy: 'file' }, read(), readAgain, context)
}

/** User and password, with the base64 form that Basic sends kept as well. */
export function basicCredential(username: string, password: string, context: Context): Credential {
  const secret = context.secrets.keep(password)
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

/** The claims of a JSON Web Token that are read here, unverified: for messages, and for the time of the next one. */
const claimsSchema = z.looseObject({
  /** Seconds since the epoch (RFC 7519 section 4.1.4). */
  exp: z.number().optional(),
  sub: z.string().optional(),
  iss: z.string().optional(),
  aud: z.union([z.string(), z.array(z.string())]).optional(),
})
export type Claims = z.infer<typeof claimsSchema>

/** Undefined for a token that is not a JSON Web Token. */
export function claimsOf(token: string): Claims | undefined {
  const payload = /^[\w-]+\.([\w-]+)\.[\w-]*$/.exec(token)?.[1]
  return claimsSchema.safeParse(parseJson(Buffer.from(payload ?? '', 'base64url'))).data
}
