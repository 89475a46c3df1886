import type { Context } from '../context.ts'
import type { Login } from '../credential.ts'
import { PromoteError, type Side } from '../errors.ts'
import { fileError, readText } from './read-file.ts'
import { bearerCredential, type Issued, renewableLogin } from './renewal.ts'

/** client-go looks at a token file again after a minute (transport/token_source.go); the kubelet rotates at 80% of its life. */
const READ_AGAIN = 60_000

export type TokenFile = Readonly<{ describe: string; path: string; side: Side | undefined }>

/** The bearer token in a file that may be rotated while the run goes on. Throws IO when it holds none at the start. */
export function tokenFileLogin(file: TokenFile, context: Context): Login {
  const read = (): Issued => ({ credential: readToken(file, context), renewAt: context.now() + READ_AGAIN })
  const readAgain = async (): Promise<Issued | undefined> => {
    try {
      return read()
    } catch (error) {
      if (!(error instanceof PromoteError)) throw error
      // The token at hand may well be good still; the server decides.
      context.log.warn(`${error.message} The token read before stays in use.`)
      return undefined
    }
  }
  return renewableLogin({ describe: file.describe, renewedBy: 'file' }, read(), readAgain, context)
}

function readToken(file: TokenFile, context: Context) {
  const from = { what: 'token file', path: file.path, side: file.side }
  const credential = bearerCredential(readText(from).trim(), context)
  if (credential !== undefined) return credential
  throw fileError(from, 'holds no token.', undefined, 'It should hold the token alone, on one line.')
}
