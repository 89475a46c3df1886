import type { Platform } from '../oci/platform.ts'
import type { Reference } from '../oci/reference.ts'
import type { Secret } from '../secret.ts'

/** Inputs after parsing: checked, typed, trusted. */
export type Config = Readonly<{
  images: readonly ImagePair[]
  source: SideConfig
  destination: SideConfig
  /** Undefined: all of them. */
  platforms: readonly Platform[] | undefined
  referrers: boolean
  additionalTags: readonly string[]
  dryRun: boolean
  /** Transfers at once, over all images. */
  jobs: number
  /** Tries in a row without 1 MiB of progress. */
  retries: number
  /** Milliseconds. */
  stallTimeout: number
  report: string | undefined
  progress: 'plain' | 'quiet' | 'json'
  logLevel: 'info' | 'debug'
  summary: boolean
  output: 'text' | 'json'
}>

export type SideConfig = Readonly<{
  side: 'source' | 'destination'
  /** API server (https, no path), or the cluster that this pod runs in. */
  cluster: URL | 'in-cluster' | undefined
  username: string | undefined
  password: Secret | undefined
  token: Secret | undefined
  /** A short-lived token of this account opens the registry. */
  serviceAccount: Readonly<{ namespace: string; name: string }> | undefined
  /** Path; server, CA and credential come from it. Excludes cluster, username, password, token. */
  kubeconfig: string | undefined
  context: string | undefined
  /** GitHub: audience of the runner's OIDC token, which is then the bearer. */
  oidcAudience: string | undefined
  registry: RegistryAddress | undefined
  /** PEM, already read and checked. */
  ca: string | undefined
  insecureSkipTlsVerify: boolean
  /** Path of a docker config.json or containers auth.json, already checked to be readable. */
  authFile: string | undefined
}>

/** `host[:port]`; `http://host:port` in the input means plain HTTP. */
export type RegistryAddress = Readonly<{ host: string; plainHttp: boolean }>

/** One line of `images`: the destination always has a tag and never a digest. */
export type ImagePair = Readonly<{ source: Reference; destination: Reference & Readonly<{ tag: string }> }>
