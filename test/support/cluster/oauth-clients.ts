import { oauthToken } from './users.ts'

/** The OAuth clients of every cluster (cluster-authentication-operator oauthclientscontroller.go). */
export interface Client {
  readonly id: string
  readonly secret: string
  /** Answers with a challenge instead of a login page. */
  readonly challenges: boolean
  readonly redirects: readonly string[]
}

/** @param issuer origin of the OAuth server */
export function clientOf(issuer: string, id: string | null): Client | undefined {
  const page = `${issuer}/oauth/token`
  const loopback = ['http://127.0.0.1/callback', 'http://[::1]/callback']
  const all: readonly Client[] = [
    { id: 'openshift-challenging-client', secret: '', challenges: true, redirects: [`${page}/implicit`] },
    // Its secret is random.
    { id: 'openshift-browser-client', secret: oauthToken(), challenges: false, redirects: [`${page}/display`] },
    { id: 'openshift-cli-client', secret: '', challenges: false, redirects: loopback },
  ]
  return all.find((one) => one.id === id)
}

/** Where the client wants its answer: its only address when it names none. undefined: not one of its own. */
export function redirectOf({ redirects }: Client, asked: string | null): string | undefined {
  if (asked) return redirects.some((registered) => isWithin(registered, asked)) ? asked : undefined
  return redirects.length === 1 ? redirects[0] : undefined
}

/** osin urivalidate.go: the same host and path, or a path below; on the loopback address any port. */
function isWithin(registered: string, asked: string): boolean {
  if (!URL.canParse(asked) || asked.includes('#')) return false
  const [base, url] = [new URL(registered), new URL(asked)]
  const loopback = base.origin === 'http://127.0.0.1' && /^(?:127\.|\[::1\]$)/.test(url.hostname)
  const sameHost = url.protocol === base.protocol && (url.host === base.host || loopback)
  return sameHost && `${url.pathname}/`.startsWith(`${base.pathname}/`)
}
