import type { Login } from '../credential.ts'
import { asPromoteError, type PromoteError } from '../errors.ts'
import type { Digest } from '../oci/digest.ts'
import { annotate, type Note, removeStreamTag } from './annotate.ts'
import { type Attempt, explain, type Witness } from './explain.ts'
import { followText, type Layers, type Stream, storedBy } from './image-stream.ts'
import type { ClusterSide } from './kubernetes.ts'
import type { Registries, RegistryAddress } from './registry-address.ts'
import { type Needs, openRights, type Rights } from './rights.ts'
import type { Session } from './session.ts'
import type { Ensured, Streams } from './streams.ts'

/** One OpenShift cluster after login. A repository is `project/name`; everything about one is asked once and shared. */
export interface Cluster extends Session {
  readonly side: ClusterSide
  /** One read of the image stream; undefined when it does not exist or may not be read. */
  stream(repository: string): Promise<Stream | undefined>
  /** From that same read; undefined: ask the registry. */
  digestOf(repository: string, tag: string): Promise<Digest | undefined>
  /**
   * Address of the cluster's own registry. Costs nothing when the repository's stream can be read, or was created here.
   * Fails with NOT_EXPOSED or REGISTRY_UNKNOWN.
   */
  registryFor(repository: string): Promise<RegistryAddress>
  /**
   * Makes sure that a push finds the image stream: creates it when it is missing and the rights allow it, never the
   * project. `unknown`: the rights don't allow to find out. Fails with STREAM_MISSING, PROJECT_MISSING, QUOTA.
   */
  ensureStream(repository: string): Promise<Ensured>
  /** All blobs and manifests that the stream names, wherever they are; undefined when there is no stream, or no right. */
  inventory(repository: string): Promise<ReadonlySet<Digest> | undefined>
  /** Those of them that the registry certainly stores. */
  stored(repository: string): Promise<ReadonlySet<Digest> | undefined>
  /** What the cluster tells of the answers that its registry gives for this repository. */
  evidence(repository: string): Promise<{ importFree: boolean | undefined; named: Layers['named'] | undefined }>
  /** A warning when the tag takes its image from somewhere else, so that a push to it may not last. */
  follows(repository: string, tag: string): Promise<string | undefined>
  /** What a dry run can tell of the rights; asks and changes nothing. */
  rights(repository: string, needs: Needs): Promise<Rights>
  /** Notes the promotion on the image stream, in one request. */
  annotate(repository: string, notes: readonly Note[]): Promise<void>
  /** @returns whether the tag is gone; false when the right is missing. */
  removeTag(repository: string, tag: string): Promise<boolean>
  /**
   * A registry's 401 or 403 → the real reason: TOKEN_REJECTED, DENIED with the command that grants the right,
   * PROJECT_MISSING, STREAM_MISSING or QUOTA. Any other error comes back as it is; never rejects.
   */
  explain(error: PromoteError, attempt: Attempt): Promise<PromoteError>
  /**
   * Whether this host, which the user named, is the cluster's own registry, so that it may see the cluster's token: by the
   * addresses that the cluster itself tells. A route made by hand is in none of them; anybody with a project could make one.
   */
  ownsRegistry(host: string, repository: string): Promise<boolean>
}

export type ClusterParts = Readonly<{
  side: ClusterSide
  user: string
  login: Login
  streams: Streams
  registries: Registries
  witness: Witness
  logout: () => Promise<void>
}>

export function clusterOf({ side, user, login, streams, registries, witness, logout }: ClusterParts): Cluster {
  const stream = async (repository: string): Promise<Stream | undefined> => {
    const found = await streams.read(repository)
    return found.state === 'found' ? found.value : undefined
  }
  const layersOf = async (repository: string): Promise<Layers | undefined> => {
    const layers = await streams.layers(repository)
    return layers.state === 'found' ? layers.value : undefined
  }
  return {
    side,
    user,
    login,
    logout,
    stream,
    digestOf: async (repository, tag) => (await stream(repository))?.tags.get(tag),
    registryFor: (repository) => registries.addressFor(repository),
    ensureStream: (repository) => streams.ensure(repository),
    inventory: async (repository) => (await layersOf(repository))?.named,
    stored: async (repository) => {
      const layers = await layersOf(repository)
      return layers && storedBy(layers, (await stream(repository)) ?? { pushed: new Set(), importFree: false })
    },
    evidence: async (repository) => {
      const [found, layers] = await Promise.all([streams.read(repository), streams.layers(repository)])
      const named = layers.state === 'found' ? layers.value.named : undefined
      if (found.state === 'found') return { importFree: found.value.importFree, named }
      // Where nothing is named, nothing was imported.
      return { importFree: layers.state === 'absent' || named?.size === 0 ? true : undefined, named }
    },
    rights: openRights(witness),
    annotate: (repository, notes) => annotate(witness.kube, repository, notes),
    removeTag: (repository, tag) => removeStreamTag(witness.kube, repository, tag),
    follows: async (repository, tag) => {
      const origin = (await stream(repository))?.origins.get(tag)
      return origin && followText(tag, origin)
    },
    explain: async (error, attempt) => {
      try {
        return await explain(error, attempt, witness)
      } catch (thrown) {
        // An explanation that fails must not hide what it was to explain.
        witness.kube.context.log.debug(`${side}: no explanation for the refusal: ${asPromoteError(thrown).message}`)
        return error
      }
    },
    ownsRegistry: (host, repository) => registries.owns(host, repository),
  }
}
