import { BlockList, isIP } from 'node:net'
import type { Context } from '../core/context.ts'
import { PromoteError } from '../core/errors.ts'

/** @property name the variable that named it, for messages; the URL itself may hold a password. */
export type ProxyServer = Readonly<{ name: string; url: URL }>

/**
 * The proxy for a URL, by the conventions of Go (golang.org/x/net/http/httpproxy), which `oc` and every container tool
 * follow: HTTPS_PROXY for https, HTTP_PROXY for http, upper case before lower case, an empty variable is an unset one, a
 * proxy without a scheme is http. `localhost` and loopback addresses are never proxied.
 *
 * NO_PROXY is a list of `*`, addresses, CIDR ranges, `host` (and everything below it), `.host` or `*.host` (only below
 * it), each but a range with an optional `:port`.
 * @throws PromoteError USAGE when the variable is not the URL of an HTTP proxy.
 */
export function proxyFor(url: URL, env: Context['env']): ProxyServer | undefined {
  const base = url.protocol === 'https:' ? 'HTTPS_PROXY' : 'HTTP_PROXY'
  const name = [base, base.toLowerCase()].find((candidate) => (env[candidate] ?? '').trim() !== '')
  if (name === undefined || isExcluded(url, noProxy(env))) return undefined
  const value = (env[name] ?? '').trim()
  const text = /^[a-z][a-z0-9+.-]*:\/\//i.test(value) ? value : `http://${value}`
  const proxy = URL.canParse(text) ? new URL(text) : undefined
  if (proxy !== undefined && proxy.hostname !== '' && /^https?:$/.test(proxy.protocol)) return { name, url: proxy }
  // The value is not quoted: it may hold a password.
  throw new PromoteError('USAGE', `${name} is not the URL of an HTTP proxy.`, {
    side: 'input',
    hint: `Set ${name} to http://host:port (SOCKS proxies are not supported), or name the host in NO_PROXY.`,
  })
}

function noProxy(env: Context['env']): string[] {
  const value = [env.NO_PROXY, env.no_proxy].find((list) => (list ?? '').trim() !== '') ?? ''
  return value
    .toLowerCase()
    .split(/[\s,]+/)
    .filter((entry) => entry !== '')
}

function isExcluded(url: URL, entries: readonly string[]): boolean {
  const host = url.hostname
    .replace(/^\[|\]$/g, '')
    .replace(/\.$/, '')
    .toLowerCase()
  const port = url.port !== '' ? url.port : url.protocol === 'https:' ? '443' : '80'
  const loopback =
    host === 'localhost' || (isIP(host) !== 0 && inRange(host, isIP(host) === 4 ? '127.0.0.0/8' : '::1/128'))
  return loopback || entries.some((entry) => matches(entry, host, port))
}

function matches(entry: string, host: string, port: string): boolean {
  if (entry === '*') return true
  if (entry.includes('/')) return isIP(host) !== 0 && inRange(host, entry)
  const { name, only } = splitPort(entry)
  if (only !== undefined && only !== port) return false
  if (isIP(name) !== 0) return isIP(host) !== 0 && inRange(host, `${name}/${isIP(name) === 4 ? 32 : 128}`)
  const domain = name.replace(/^\*/, '').replace(/\.$/, '')
  if (domain === '') return false
  return domain.startsWith('.') ? host.endsWith(domain) : host === domain || host.endsWith(`.${domain}`)
}

/** `host:443`, `[::1]:443`, `::1`. */
function splitPort(entry: string): { name: string; only?: string } {
  if (isIP(entry) !== 0) return { name: entry }
  const [, name, only] = /^(.*):(\d+)$/.exec(entry) ?? []
  const bare = (name ?? entry).replace(/^\[|\]$/g, '')
  return only === undefined ? { name: bare } : { name: bare, only }
}

function inRange(host: string, range: string): boolean {
  const [address = '', prefix = ''] = range.split('/', 2)
  const family = isIP(address)
  if (family === 0 || !/^\d{1,3}$/.test(prefix) || Number(prefix) > (family === 4 ? 32 : 128)) return false
  const list = new BlockList()
  list.addSubnet(address, Number(prefix), family === 4 ? 'ipv4' : 'ipv6')
  return list.check(host, isIP(host) === 4 ? 'ipv4' : 'ipv6')
}
