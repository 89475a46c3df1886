import { PromoteError } from '../errors.ts'
import { isForeign, type Manifest } from '../oci/manifest.ts'
import type { Plan } from './plan.ts'

/**
 * A refusal of an image whose non-distributable layer the registry wants to have, or does not want to know by its URLs. What
 * other layers it misses does not matter then: sending them again changes nothing.
 * @returns undefined when that is not what happened.
 */
export function refusedForeign(thrown: unknown, manifest: Manifest, plan: Plan): PromoteError | undefined {
  if (!(thrown instanceof PromoteError)) return undefined
  const missing = JSON.stringify(thrown.server.filter(({ code }) => /BLOB_UNKNOWN$/.test(code)))
  const named = manifest.links.filter(({ descriptor }) => isForeign(descriptor) && missing.includes(descriptor.digest))
  const isLeft = ({ descriptor }: (typeof named)[number]) =>
    plan.graph.nodes.get(`blob ${descriptor.digest}`)?.leave !== undefined
  const left = named.find(isLeft)
  // 400 for a layer that is copied is an ordinary missing blob: it is sent again.
  const layer = left ?? (thrown.status === 400 ? undefined : named[0])
  if (layer === undefined) return undefined
  const { digest } = layer.descriptor
  const why =
    left === undefined
      ? `The registry does not take the non-distributable layer ${digest}, not even with its bytes (include-foreign).`
      : `The registry does not take the non-distributable layer ${digest} without its bytes, and they are copied only with include-foreign.`
  return new PromoteError('UNSUPPORTED', `${thrown.message} ${why}`, {
    ...thrown,
    cause: thrown,
    transient: false,
    hint:
      thrown.status === 400
        ? 'Set include-foreign, if the licence of the layer allows it to be copied.'
        : 'docker-registry and distribution take URLs of layers only where their setting validation.manifests.urls.allow fits them.',
  })
}
