import { createHash } from 'node:crypto'
import { z } from 'zod'
import { quote } from '../http/error-body.ts'

const PREFIX = 'sha256~'

/**
 * Name of the API object of an OAuth token: knowing it is the right to delete it. Undefined for every other kind of token:
 * those have no object, and their text must not get into a URL.
 * Source: oc pkg/cli/logout/logout.go, tokenToObjectName.
 */
export function tokenObjectName(token: string): string | undefined {
  if (!token.startsWith(PREFIX)) return undefined
  return PREFIX + createHash('sha256').update(token.slice(PREFIX.length)).digest('base64url')
}

const claimsSchema = z.looseObject({
  exp: z.number().optional(),
  iss: z.string().optional(),
  sub: z.string().optional(),
})

/** The claims of a JWT, unverified: they are for messages only. */
export function claimsOf(token: string): z.infer<typeof claimsSchema> | undefined {
  const payload = /^[\w-]+\.([\w-]+)\.[\w-]*$/.exec(token)?.[1]
  if (payload === undefined) return undefined
  try {
    return claimsSchema.safeParse(JSON.parse(Buffer.from(payload, 'base64url').toString('utf8'))).data
  } catch {
    return undefined
  }
}

/** Why a server may have refused this token, as far as its shape tells. Nothing of a secret is in the text. */
export function whyRefused(token: string, now: number): string {
  if (token.startsWith(PREFIX)) return 'It is expired, was revoked (by a logout, say), or belongs to another cluster.'
  const claims = claimsOf(token)
  if (claims !== undefined) return whyClaims(claims, now)
  if (/^[\w-]{43}$/.test(token))
    return 'It has the format of OpenShift before 4.6, without the prefix "sha256~", which clusters no longer accept.'
  return 'It has the shape of neither an OpenShift token ("sha256~…") nor a service account token.'
}

function whyClaims(claims: z.infer<typeof claimsSchema>, now: number): string {
  const owner = claims.sub === undefined ? '' : ` of ${quote(claims.sub, 200)}`
  if (claims.exp !== undefined && claims.exp * 1000 <= now)
    return `The token${owner} expired at ${instant(claims.exp * 1000)}.`
  return `The token${owner} is not expired: its account, pod or secret is gone, or another cluster issued it.`
}

/** Beyond what a Date can say, a server's number is not a time. */
function instant(milliseconds: number): string {
  const date = new Date(milliseconds)
  return Number.isNaN(date.getTime()) ? 'an unknown time' : date.toISOString()
}
