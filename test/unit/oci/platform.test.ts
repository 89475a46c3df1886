import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { PromoteError } from '../../../src/core/errors.ts'
import { formatPlatform, matches, type Platform, parsePlatform } from '../../../src/oci/platform.ts'

const PARSED: readonly (readonly [text: string, platform: Platform])[] = [
  ['linux/amd64', { os: 'linux', architecture: 'amd64' }],
  ['Linux/x86_64', { os: 'linux', architecture: 'amd64' }],
  ['linux/amd64/v1', { os: 'linux', architecture: 'amd64' }],
  ['linux/amd64/v3', { os: 'linux', architecture: 'amd64', variant: 'v3' }],
  ['linux/aarch64', { os: 'linux', architecture: 'arm64' }],
  ['linux/arm64/v8', { os: 'linux', architecture: 'arm64' }],
  ['linux/arm64/v9', { os: 'linux', architecture: 'arm64', variant: 'v9' }],
  ['linux/arm', { os: 'linux', architecture: 'arm', variant: 'v7' }],
  ['linux/arm/6', { os: 'linux', architecture: 'arm', variant: 'v6' }],
  ['linux/armhf', { os: 'linux', architecture: 'arm', variant: 'v7' }],
  ['linux/armel', { os: 'linux', architecture: 'arm', variant: 'v6' }],
  ['linux/i386', { os: 'linux', architecture: '386' }],
  ['macos/arm64', { os: 'darwin', architecture: 'arm64' }],
  ['linux/s390x', { os: 'linux', architecture: 's390x' }],
  ['windows(10.0.17763)/amd64', { os: 'windows', architecture: 'amd64', 'os.version': '10.0.17763' }],
]

/** wanted, actual, whether it is what was wanted */
const MATCHES: readonly (readonly [wanted: string, actual: Platform, fits: boolean])[] = [
  ['linux/amd64', { os: 'linux', architecture: 'amd64' }, true],
  ['linux/amd64', { os: 'linux', architecture: 'amd64', variant: '' }, true],
  ['linux/amd64', { os: 'linux', architecture: 'amd64', variant: 'v2' }, false],
  ['linux/amd64', { os: 'linux', architecture: 'arm64' }, false],
  ['linux/amd64', { os: 'windows', architecture: 'amd64' }, false],
  ['linux/arm64', { os: 'linux', architecture: 'arm64', variant: 'v8' }, true],
  ['linux/arm64/v8', { os: 'linux', architecture: 'arm64' }, true],
  ['linux/arm/v7', { os: 'linux', architecture: 'arm' }, true],
  ['linux/arm/v7', { os: 'linux', architecture: 'arm', variant: '7' }, true],
  ['linux/arm/v7', { os: 'linux', architecture: 'arm', variant: 'v6' }, false],
  ['linux/arm', { os: 'linux', architecture: 'arm', variant: 'v7' }, true],
  ['linux/amd64', { os: 'unknown', architecture: 'unknown' }, false],
  ['windows/amd64', { os: 'windows', architecture: 'amd64', 'os.version': '10.0.20348.2113' }, true],
  ['windows(10.0.20348)/amd64', { os: 'windows', architecture: 'amd64', 'os.version': '10.0.20348.2113' }, true],
  ['windows(10.0.20348)/amd64', { os: 'windows', architecture: 'amd64', 'os.version': '10.0.20348' }, true],
  ['windows(10.0.2034)/amd64', { os: 'windows', architecture: 'amd64', 'os.version': '10.0.20348.2113' }, false],
  ['windows(10.0.20348)/amd64', { os: 'windows', architecture: 'amd64' }, true],
  ['windows(10.0.26100)/amd64', { os: 'windows', architecture: 'amd64', 'os.version': '10.0.20348.2113' }, true],
  ['windows(10.0.20348)/amd64', { os: 'windows', architecture: 'amd64', 'os.version': '10.0.26100.1' }, false],
  ['windows(10.0.26100)/amd64', { os: 'windows', architecture: 'amd64', 'os.version': '10.0.17763.1817' }, false],
  ['windows(10.0.17763)/amd64', { os: 'windows', architecture: 'amd64', 'os.version': '10.0.17763.1817' }, true],
  ['windows(10.0.17763)/amd64', { os: 'windows', architecture: 'amd64', 'os.version': '10.0.17134.1' }, false],
  ['windows(10.0.17763)/amd64', { os: 'windows', architecture: 'amd64', 'os.version': '6.3.17763.1' }, false],
  ['windows(10.0.17763)/amd64', { os: 'windows', architecture: 'amd64', 'os.version': 'nonsense' }, false],
  ['windows(10)/amd64', { os: 'windows', architecture: 'amd64', 'os.version': '10.0.17763.1817' }, true],
  ['linux(5.4.0)/amd64', { os: 'linux', architecture: 'amd64', 'os.version': '6.1.0' }, true],
]

describe('a platform', () => {
  test.each(PARSED)('%s is normalised', (text, platform) => {
    expect(parsePlatform(text)).toEqual(platform)
  })

  test.each([
    '',
    'linux',
    'linux/',
    '/amd64',
    'linux/amd64/',
    'linux/arm/v7/x',
    'linux amd64',
    'windows()/amd64',
    'linux/a b',
    'l/é',
  ])('%j is refused', (text) => {
    expect(() => parsePlatform(text)).toThrow(expect.objectContaining({ code: 'USAGE', side: 'input' }))
  })

  test.each(MATCHES)('%s against %j: %s', (wanted, actual, fits) => {
    expect(matches(parsePlatform(wanted), actual)).toBe(fits)
  })

  test('reads back what is printed', () => {
    expect(formatPlatform({ os: 'windows', architecture: 'amd64', 'os.version': '10.0.1.2' })).toBe(
      'windows(10.0.1.2)/amd64',
    )
    for (const [text] of PARSED) {
      const platform = parsePlatform(text)
      expect(parsePlatform(formatPlatform(platform))).toEqual(platform)
      expect(matches(platform, platform)).toBe(true)
    }
  })

  test('whatever the text is, the answer is a platform or USAGE', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[a-z0-9()./_-]{0,40}$/)), (text) => {
        try {
          const platform = parsePlatform(text)
          return matches(platform, parsePlatform(formatPlatform(platform)))
        } catch (thrown) {
          return thrown instanceof PromoteError && thrown.code === 'USAGE'
        }
      }),
    )
    expect(() => parsePlatform('a/'.repeat(32_768))).toThrow(PromoteError)
    expect(() => parsePlatform(`linux(${'1.'.repeat(32_768)})/amd64`)).toThrow(PromoteError)
  })
})
