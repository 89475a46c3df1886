import { z } from 'zod'
import { PromoteError } from '../core/errors.ts'
import { parseJson } from '../core/json.ts'
import { quote } from '../core/text.ts'

/** OCI image-spec image-index.md "platform". */
export type Platform = Readonly<{
  os: string
  architecture: string
  variant?: string | undefined
  'os.version'?: string | undefined
}>

/** containerd/platforms database.go `normalizeArch`: other names of the same architectures. */
const ARCHITECTURES: ReadonlyMap<string, readonly [architecture: string, variant?: string]> = new Map([
  ['i386', ['386']],
  ['x86_64', ['amd64']],
  ['x86-64', ['amd64']],
  ['aarch64', ['arm64']],
  ['armhf', ['arm', 'v7']],
  ['armel', ['arm', 'v6']],
])

/** containerd/platforms `specifierRe` and `osRe`: one component; the system may be followed by a version. */
const COMPONENT = /^[A-Za-z0-9_.-]{1,64}$/
const SYSTEM = /^([A-Za-z0-9_-]{1,64})(?:\(([A-Za-z0-9_.-]{1,64})\))?$/

/**
 * `os[(version)]/architecture[/variant]`: `linux/amd64`, `linux/arm/v7`, `windows(10.0.17763)/amd64`; normalised.
 * @throws PromoteError USAGE
 */
export function parsePlatform(text: string): Platform {
  const [system = '', architecture = '', variant, ...more] = text.split('/', 5)
  const [, os, version] = SYSTEM.exec(system) ?? []
  const good =
    os !== undefined &&
    COMPONENT.test(architecture) &&
    (variant === undefined || COMPONENT.test(variant)) &&
    more.length === 0
  if (!good)
    throw new PromoteError('USAGE', `${quote(text)} is not a platform.`, {
      side: 'input',
      hint: 'Platforms look like linux/amd64, linux/arm64/v8 or windows(10.0.17763)/amd64.',
    })
  return normalise({ os, architecture, variant, 'os.version': version })
}

/**
 * Like containerd's `NewMatcher`: system, architecture and variant are equal after normalisation (arm64 is arm64/v8, arm is
 * arm/v7). For Windows, the image also has to run on the wanted `os.version`.
 */
export function matches(wanted: Platform, actual: Platform): boolean {
  const [want, have] = [normalise(wanted), normalise(actual)]
  return (
    want.os === have.os &&
    want.architecture === have.architecture &&
    want.variant === have.variant &&
    (want.os !== 'windows' || runsOn(want['os.version'], have['os.version']))
  )
}

/** `linux/arm64/v8`, `windows(10.0.17763.1817)/amd64`: the form that `parsePlatform` reads. */
export function formatPlatform(platform: Platform): string {
  const version = platform['os.version']
  const system = version ? `${platform.os}(${version})` : platform.os
  return [system, platform.architecture, ...(platform.variant ? [platform.variant] : [])].join('/')
}

const optionalText = z.string().optional().catch(undefined)
const configSchema = z.object({
  os: z.string(),
  architecture: z.string(),
  variant: optionalText,
  'os.version': optionalText,
})

/** The platform in an image config (OCI image-spec config.md); undefined for the configs of artifacts. */
export function platformOfConfig(bytes: Uint8Array): Platform | undefined {
  return configSchema.safeParse(parseJson(bytes)).data
}

/** Windows Server 2022. From this build on, a host also runs images of older builds, down to this one. */
const STABLE_BUILD = 20_348

/** containerd/platforms platform_windows_compat.go: an image or a host without a version matches any version. */
function runsOn(host: string | undefined, image: string | undefined): boolean {
  const [wanted, actual] = [windowsVersion(host), windowsVersion(image)]
  if (wanted === undefined || !image) return true
  if (actual === undefined || wanted.release !== actual.release) return false
  if (wanted.build < STABLE_BUILD) return actual.build === wanted.build
  return actual.build >= STABLE_BUILD && actual.build <= wanted.build
}

/** `10.0.17763.1817` → release 10.0, build 17763. */
function windowsVersion(text: string | undefined): { release: string; build: number } | undefined {
  const [, release, build] = /^(\d{1,3}\.\d{1,3})\.(\d{1,5})(?:\.|$)/.exec(text ?? '') ?? []
  return release === undefined ? undefined : { release, build: Number(build) }
}

function normalise(platform: Platform): Platform {
  const os = platform.os.toLowerCase()
  const given = platform.architecture.toLowerCase()
  const [architecture, implied] = ARCHITECTURES.get(given) ?? [given]
  const variant = normaliseVariant(architecture, (implied ?? platform.variant ?? '').toLowerCase())
  const version = platform['os.version']
  return {
    os: os === 'macos' ? 'darwin' : os,
    architecture,
    ...(variant === '' ? {} : { variant }),
    ...(version ? { 'os.version': version } : {}),
  }
}

/** containerd/platforms `normalizeArch`: the default variant is omitted, except on 32-bit arm. */
function normaliseVariant(architecture: string, variant: string): string {
  if (architecture === 'arm64') return ['8', 'v8', 'v8.0'].includes(variant) ? '' : variant
  if (architecture === 'amd64') return variant === 'v1' ? '' : variant
  if (architecture !== 'arm') return variant
  if (variant === '') return 'v7'
  return /^[5-8]$/.test(variant) ? `v${variant}` : variant
}
