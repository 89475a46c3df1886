import type { Side } from '../core/errors.ts'
import { oneLine } from '../core/text.ts'
import { type Claims, claimsOf } from '../credentials/login.ts'
import type { Login, RenewedBy } from '../http/credential.ts'

/** What OpenShift's OAuth tokens begin with. */
export const PREFIX = 'sha256~'
/** The issuer of GitHub's OIDC tokens. */
const GITHUB = 'https://token.actions.githubusercontent.com'

/** Why a server may have refused this token, by its format. The text has nothing secret in it. @param now milliseconds */
export function whyRefused(token: string, now: number): string {
  if (token.startsWith(PREFIX)) return 'It is expired, was revoked (by a logout, say), or belongs to another cluster.'
  const claims = claimsOf(token)
  if (claims !== undefined) return whyClaims(claims, now)
  if (/^[\w-]{43}$/.test(token))
    return 'It has the format of OpenShift before 4.6, without the prefix "sha256~", which clusters no longer accept.'
  return 'It has the shape of neither an OpenShift token ("sha256~…") nor a service account token.'
}

function whyClaims(claims: Claims, now: number): string {
  const { exp, sub, iss, aud } = claims
  const owner = sub === undefined ? '' : ` of ${oneLine(sub, 200)}`
  if (exp !== undefined && exp * 1000 <= now) {
    const end = new Date(exp * 1000) // invalid if the number is beyond what a Date can hold
    return `The token${owner} expired at ${Number.isNaN(end.getTime()) ? 'an unknown time' : end.toISOString()}.`
  }
  if (isForeign(claims))
    return `The token${owner} was issued by ${oneLine(iss ?? '', 200)}, not by a Kubernetes cluster, and this cluster does not accept it.`
  // By default a token is for its issuer; `oc create token --audience` and projected volumes name another audience.
  const audiences = [aud ?? []].flat()
  if (iss !== undefined && audiences.length > 0 && !audiences.some((one) => one === iss || one.includes('kubernetes')))
    return `The token${owner} is for ${oneLine(audiences.join(', '), 200)}, not for the API server of a cluster.`
  return `The token${owner} is not expired: its account, pod or secret is gone, or another cluster issued it.`
}

/** Kubernetes issues tokens for service accounts alone; the issuer's name differs from cluster to cluster. */
function isForeign({ iss, sub = '' }: Claims): boolean {
  return iss !== undefined && !sub.startsWith('system:serviceaccount:')
}

/**
 * What to do about a refused token when `login` has no newer one.
 * @param token the refused one, if it is known
 */
export function afterRefusal({ renewedBy }: Login, side: Side, token = ''): string {
  const claims = claimsOf(token)
  const given = claims === undefined || !isForeign(claims) ? GIVEN : claims.iss === GITHUB ? GITHUB_TOKEN : FOREIGN
  return (renewedBy === undefined ? given : NO_NEWER[renewedBy]).replaceAll('SIDE', side)
}

const GIVEN =
  'A token that was given cannot be renewed by the run. Get a new token from this cluster, one that outlives the run ' +
  '(`oc create token <service account> -n <namespace> --duration 24h`, or `oc whoami -t`); or give SIDE-username and ' +
  'SIDE-password, with which the run logs in again when its token ends.'

const FOREIGN =
  'Give a token of this cluster (`oc create token <service account> -n <namespace> --duration 24h`), or have its ' +
  'administrator trust the issuer (external OIDC authentication).'

const GITHUB_TOKEN = `${FOREIGN} A job on GitHub gets a token for each request by SIDE-oidc-audience in place of SIDE-token.`

const NO_NEWER: Readonly<Record<RenewedBy, string>> = {
  file:
    'Its file was read again and has no newer one. Check that what rotates it still does, and that it holds a token of ' +
    'this cluster.',
  plugin:
    'The exec plugin was run again and gave no better one. Log in with it anew, and check that the kubeconfig is of this ' +
    'cluster.',
  runner:
    `GitHub gave a new one, and it is refused as well. The cluster has to trust the issuer ${GITHUB} with the audience of ` +
    'SIDE-oidc-audience.',
  cluster:
    'The run got it by itself, and no better one since. Check that the account still exists and may log in, then run it ' +
    'again.',
}
