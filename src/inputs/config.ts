import type { Secret } from '../core/secret.ts'
import type { Digest } from '../oci/digest.ts'
import type { Platform } from '../oci/platform.ts'
import type { Reference, RegistryAddress } from '../oci/reference.ts'
import type { PolicyInputs } from '../trust/load-policy.ts'
import type { SignInputs } from '../trust/trust-options.ts'
import type { Undo } from './rollback-report.ts'
import type { Shard } from './shard.ts'
import type { Selection } from './tag-selection.ts'

export type Config = Readonly<{
  images: readonly ImagePair[]
  sets: readonly ImageSet[] // images whose tags are known only when the source was asked
  /** What a tag that exists already means: it is written anyhow, must have the digest already, or must not exist. */
  overwrite: 'always' | 'same' | 'skip' | 'never'
  atomic: boolean // no tag moves before everything is there; tags that moved before a failure are put back
  failFast: boolean
  shard: Shard | undefined
  annotate: boolean
  rollback: readonly Undo[] | undefined // instead of images: the tags of an earlier promotion that go back
  history: readonly Reference[] // instead of images: what is promoted already, and whose records are read
  rollbackReport: string | undefined // path of the report that they come from
  source: SideConfig
  destinations: readonly SideConfig[] // at least one
  platforms: readonly Platform[] | undefined // undefined: all of them
  referrers: boolean
  requireSigned: boolean // only what carries a signature; who signed is not looked at
  trust?: PolicyInputs | undefined // set when one of the options of a policy is
  sign?: SignInputs | undefined // set with sign-key: what is signed, and with what
  includeForeign: boolean // non-distributable layers are fetched from the URLs that their manifests name
  foreignHosts?: readonly string[] | undefined // foreign layers come from these hosts only
  skipMissing: boolean // what an index or a list of referrers names and the source lacks is left out
  additionalTags: readonly string[]
  dryRun: boolean
  /** What to write if the second of two images was meant as the destination of the first. */
  suggestion: string | undefined
  jobs: number // transfers at once, over all images
  retries: number // tries in a row without 1 MiB of progress
  stallTimeout: number // milliseconds
  registryAuth?: Secret | undefined // text of an auth file with the entries of `registry-auth`
  report: string | undefined
  /** Id of the pipeline's run, the same for its tries and its parts on several runners. Undefined: no CI system tells. */
  run: string | undefined
  progress: 'plain' | 'quiet' | 'json'
  logLevel: 'info' | 'debug'
  summary: boolean
  output: 'text' | 'json'
  resultsLimit: number // Tekton: bytes of all results together, in the termination message
}>

export type SideConfig = Readonly<{
  side: 'source' | 'destination'
  name: string // `source`, `destination`, or what the list of destinations calls it
  cluster: URL | 'in-cluster' | undefined // API server (https, no path), or the cluster that this pod runs in
  username: string | undefined
  password: Secret | undefined
  token: Secret | undefined
  /** A short-lived token of this account opens the registry. */
  serviceAccount: Readonly<{ namespace: string; name: string }> | undefined
  /** Path or text; server, CA and credential come from it. Excludes cluster, username, password, token. */
  kubeconfig: string | Secret | undefined
  context: string | undefined
  oidcAudience: string | undefined // GitHub: audience of the runner's OIDC token, which is then the bearer
  registry: RegistryAddress | undefined
  ca: string | undefined // PEM, already read and checked
  insecureSkipTlsVerify: boolean
  /** Path, already checked to be readable, or text of a docker config.json or containers auth.json. */
  authFile: string | Secret | undefined
}>

/** One line of `images`, or entry of the list: the destination always has a tag and never a digest. */
export type ImagePair = Readonly<{
  source: Reference
  destination: Reference & Readonly<{ tag: string }>
  platforms?: readonly Platform[] | undefined // instead of those of the run
  expectCurrent?: Digest | 'absent' | undefined // where the tag has to be before it moves
}>

/** Many tags of one repository; each keeps its name in the other. Neither reference has a tag or a digest. */
export type ImageSet = Readonly<{
  source: Reference
  destination: Reference
  select: Selection
  platforms?: readonly Platform[] | undefined
}>
