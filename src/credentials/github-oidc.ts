import type { Context } from '../core/context.ts'
import { PromoteError, reasonOf, type Side } from '../core/errors.ts'
import { ANONYMOUS, type Login } from '../http/credential.ts'
import { bearerCredential, claimsOf, type Issued, renewableLogin } from './login.ts'
import { firstLine } from './subprocess.ts'

/** GitHub's tokens live for minutes: one with less than this left may be refused on its way. */
const MARGIN = 60_000

/**
 * Workload identity: the runner's OIDC token is the bearer, for clusters that trust GitHub's issuer. It is fetched when
 * first needed, again shortly before it expires, and once more when it was refused.
 *
 * @param fetchToken asks the runner (`getIDToken` of @actions/core); its failures become CREDENTIAL_MISSING or UNAVAILABLE.
 */
export function githubOidcLogin(
  audience: string,
  fetchToken: (audience: string) => Promise<string>,
  context: Context,
  side?: Side,
): Login {
  const issue = async (): Promise<Issued> => {
    const token = await fetchToken(audience).catch((error: unknown) => {
      throw refusal(error, context, side)
    })
    const credential = bearerCredential(token, context)
    if (credential === undefined)
      throw new PromoteError('UNAVAILABLE', 'GitHub gave something that is not a token.', { side })
    const expires = claimsOf(token)?.exp
    return { credential, renewAt: expires === undefined ? undefined : expires * 1000 - MARGIN }
  }
  const nothingYet = { credential: ANONYMOUS, renewAt: Number.NEGATIVE_INFINITY }
  const what = { describe: `GitHub OIDC token for ${audience}`, renewedBy: 'runner' } as const
  return renewableLogin(what, nothingYet, issue, context)
}

function refusal(error: unknown, context: Context, side: Side | undefined): PromoteError {
  // @actions/core writes one sentence over several lines.
  const sentence = reasonOf(error).replace(/\s+/g, ' ')
  const said = firstLine(sentence, context.secrets)
  if (/ACTIONS_ID_TOKEN_REQUEST_(URL|TOKEN)/.test(said))
    return new PromoteError('CREDENTIAL_MISSING', 'This job may not ask GitHub for an OIDC token.', {
      side,
      hint: 'Add to the job (or workflow): permissions: { id-token: write, contents: read }.',
    })
  return new PromoteError('UNAVAILABLE', `Asking GitHub for an OIDC token failed: ${said}.`, {
    side,
    cause: error,
    hint: 'Run the job again.',
  })
}
