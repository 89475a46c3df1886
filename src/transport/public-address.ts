/** Addresses that text from a server may lead to: for URLs in manifests, which every pusher writes. */
import { type LookupAddress, lookup } from 'node:dns'
import { BlockList, isIP, type LookupFunction } from 'node:net'
import { PromoteError, type Side } from '../core/errors.ts'
import { displayUrl } from '../core/text.ts'
import { lazy } from './connect.ts'

/** Whether an IP address may be connected to. */
export type AddressFilter = (address: string) => boolean

/** IANA special-purpose registries: private, shared, loopback, link-local, documentation, benchmark, multicast, reserved. */
const INTERNAL = lazy(() =>
  blockList(
    `0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 192.88.99.0/24
    192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/3`,
    'ipv4',
  ),
)
/** Of IPv6 only this is given out; tunnels (2001::/23, 2002::/16) and documentation in it lead elsewhere or nowhere. */
const GLOBAL = lazy(() => blockList('2000::/3', 'ipv6'))
const NOT_GLOBAL = lazy(() => blockList('2001::/23 2001:db8::/32 2002::/16 3fff::/20', 'ipv6'))

export function isPublic(address: string): boolean {
  const family = isIP(address)
  if (family === 4) return !INTERNAL().check(address, 'ipv4')
  return family === 6 && GLOBAL().check(address, 'ipv6') && !NOT_GLOBAL().check(address, 'ipv6')
}

/**
 * Before a connection. An address in the URL is judged here, a name when it is looked up for the connection itself. A proxy
 * looks names up by itself, and may find what this machine does not: the user has to have named the host then.
 * @param hosts when given, only these.
 * @throws PromoteError UNSUPPORTED
 */
export function checkAddress(
  url: URL,
  isAllowed: AddressFilter,
  proxied: boolean,
  side: Side,
  hosts?: readonly string[],
): void {
  if (url.protocol !== 'https:') throw refused(displayUrl(url), 'is not https', side)
  const host = url.hostname.replace(/^\[|\]$/g, '')
  const isAddress = isIP(host) !== 0
  if (isAddress && !isAllowed(host)) throw refused(displayUrl(url), 'is not a public address', side)
  const named = hosts?.includes(host.replace(/\.$/, ''))
  if (named === false) throw refused(displayUrl(url), 'is not among the hosts of include-foreign', side)
  if (proxied && !isAddress && named === undefined)
    throw refused(displayUrl(url), `is reached through a proxy, which looks ${host} up by itself`, side, host)
}

/** As `dns.lookup`; a name of which any address is out of reach is refused. What was judged is what is connected to. */
export function lookupAllowed(isAllowed: AddressFilter, side: Side): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, { ...options, all: true }, (error, found) => {
      const addresses: readonly LookupAddress[] = found ?? []
      const [first] = addresses
      if (error !== null || first === undefined) return callback(error, '', 0)
      const inside = addresses.find(({ address }) => !isAllowed(address))
      const what = `leads to ${inside?.address}, which is not a public address`
      if (inside !== undefined) return callback(refused(`https://${hostname}`, what, side), '', 0)
      if (options.all === true) callback(null, [...addresses])
      else callback(null, first.address, first.family)
    })
  }
}

function refused(where: string, what: string, side: Side, host?: string): PromoteError {
  const advice =
    host === undefined
      ? 'Leave include-foreign off, or copy the layer into the registry.'
      : `If that host is meant: include-foreign: ${host}`
  const hint = `A manifest names this address for a layer. ${advice}`
  return new PromoteError('UNSUPPORTED', `${where}: nothing is fetched from there: it ${what}.`, { side, hint })
}

function blockList(ranges: string, family: 'ipv4' | 'ipv6'): BlockList {
  const list = new BlockList()
  for (const range of ranges.split(/\s+/)) {
    const [address = '', prefix = ''] = range.split('/')
    list.addSubnet(address, Number(prefix), family)
  }
  return list
}
