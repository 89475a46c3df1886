import type { Secret } from '../core/secret.ts'
import type { Digest } from '../oci/digest.ts'
import type { Platform } from '../oci/platform.ts'
import type { Reference, RegistryAddress } from '../oci/reference.ts'
import type { PolicyInputs } from '../trust/load-policy.ts'
import type { Undo } from './rollback-report.ts'
import type { Shard } from './shard.ts'
import type { Selection } from './tag-selection.ts'

/** Inputs after parsing: checked, typed, trusted. */
export type Config = Readonly<{
  images: readonly ImagePair[]
  /** Images whose tags are known only when the source was asked. */
  sets: readonly ImageSet[]
  /** What a tag that exists already means: it is written anyhow, must have the digest already, or must not exist. */
  overwrite: 'always' | 'same' | 'never'
  /** No tag moves before everything is there; tags that moved before a failure are put back. */
  atomic: boolean
  failFast: boolean
  shard: Shard | undefined
  annotate: boolean
  /** Instead of images: the tags of an earlier promotion that go back. */
  rollback: readonly Undo[] | undefined
  source: SideConfig
  /** At least one. */
  destinations: readonly SideConfig[]
  /** Undefined: all of them. */
  platforms: readonly Platform[] | undefined
  referrers: boolean
  /** Only what carries a signature; who signed is not looked at. */
  requireSigned: boolean
  /** Who must have signed, and what may go where: set when one of the options of a policy is. */
  trust?: PolicyInputs | undefined
  /** Non-distributable layers are fetched from the URLs that their manifests name. */
  includeForeign: boolean
  /** Foreign layers come from these hosts only. */
  foreignHosts?: readonly string[] | undefined
  /** What an index or a list of referrers names and the source lacks is left out. */
  skipMissing: boolean
  additionalTags: readonly string[]
  dryRun: boolean
  /** Transfers at once, over all images. */
  jobs: number
  /** Tries in a row without 1 MiB of progress. */
  retries: number
  /** Milliseconds. */
  stallTimeout: number
  /** Text of an auth file with the entries of `registry-auth`. */
  registryAuth?: Secret | undefined
  report: string | undefined
  progress: 'plain' | 'quiet' | 'json'
  logLevel: 'info' | 'debug'
  summary: boolean
  output: 'text' | 'json'
}>

export type SideConfig = Readonly<{
  side: 'source' | 'destination'
  /** `source`, `destination`, or what the list of destinations calls it. */
  name: string
  /** API server (https, no path), or the cluster that this pod runs in. */
  cluster: URL | 'in-cluster' | undefined
  username: string | undefined
  password: Secret | undefined
  token: Secret | undefined
  /** A short-lived token of this account opens the registry. */
  serviceAccount: Readonly<{ namespace: string; name: string }> | undefined
  /** Path or text; server, CA and credential come from it. Excludes cluster, username, password, token. */
  kubeconfig: string | Secret | undefined
  context: string | undefined
  /** GitHub: audience of the runner's OIDC token, which is then the bearer. */
  oidcAudience: string | undefined
  registry: RegistryAddress | undefined
  /** PEM, already read and checked. */
  ca: string | undefined
  insecureSkipTlsVerify: boolean
  /** Path, already checked to be readable, or text of a docker config.json or containers auth.json. */
  authFile: string | Secret | undefined
}>

/** One line of `images`, or entry of the list: the destination always has a tag and never a digest. */
export type ImagePair = Readonly<{
  source: Reference
  destination: Reference & Readonly<{ tag: string }>
  /** Instead of those of the run. */
  platforms?: readonly Platform[] | undefined
  /** Where the tag has to be before it moves. */
  expectCurrent?: Digest | 'absent' | undefined
}>

/** Many tags of one repository; each keeps its name in the other. Neither reference has a tag or a digest. */
export type ImageSet = Readonly<{
  source: Reference
  destination: Reference
  select: Selection
  platforms?: readonly Platform[] | undefined
}>
