import type { Side } from '../core/errors.ts'
import { oneLine } from '../core/text.ts'
import { type Claims, claimsOf } from '../credentials/login.ts'
import type { Login, RenewedBy } from '../http/credential.ts'

/** What OpenShift's OAuth tokens begin with. */
export const PREFIX = 'sha256~'

/** Why a server may have refused this token, as far as its shape tells. Nothing of a secret is in the text. */
export function whyRefused(token: string, now: number): string {
  if (token.startsWith(PREFIX)) return 'It is expired, was revoked (by a logout, say), or belongs to another cluster.'
  const claims = claimsOf(token)
  if (claims !== undefined) return whyClaims(claims, now)
  if (/^[\w-]{43}$/.test(token))
    return 'It has the format of OpenShift before 4.6, without the prefix "sha256~", which clusters no longer accept.'
  return 'It has the shape of neither an OpenShift token ("sha256~…") nor a service account token.'
}

function whyClaims(claims: Claims, now: number): string {
  const owner = claims.sub === undefined ? '' : ` of ${oneLine(claims.sub, 200)}`
  if (claims.exp !== undefined && claims.exp * 1000 <= now) {
    const end = new Date(claims.exp * 1000) // not valid when the number is beyond what a Date can hold
    return `The token${owner} expired at ${Number.isNaN(end.getTime()) ? 'an unknown time' : end.toISOString()}.`
  }
  return `The token${owner} is not expired: its account, pod or secret is gone, or another cluster issued it.`
}

/** What to do about a token that is refused when `login` has no newer one: whether the run could renew it, and what helps. */
export function afterRefusal({ renewedBy }: Login, side: Side): string {
  return (renewedBy === undefined ? GIVEN : NO_NEWER[renewedBy]).replaceAll('SIDE', side)
}

const GIVEN =
  'A token that was given cannot be renewed by the run. Get a new token from this cluster, one that outlives the run ' +
  '(`oc create token <service account> -n <namespace> --duration 24h`, or `oc whoami -t`); or give SIDE-username and ' +
  'SIDE-password, with which the run logs in again when its token ends.'

const NO_NEWER: Readonly<Record<RenewedBy, string>> = {
  file:
    'Its file was read again and has no newer one. Check that what rotates it still does, and that it holds a token of ' +
    'this cluster.',
  plugin:
    'The exec plugin was run again and gave no better one. Log in with it anew, and check that the kubeconfig is of this ' +
    'cluster.',
  runner:
    'GitHub gave a new one, and it is refused as well. The cluster has to trust the issuer ' +
    'https://token.actions.githubusercontent.com with the audience of SIDE-oidc-audience.',
  cluster:
    'The run got it by itself, and no better one since. Check that the account still exists and may log in, then run it ' +
    'again.',
}
