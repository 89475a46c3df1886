import { listed } from '../core/text.ts'
import { PromoteError } from '../errors.ts'
import type { Manifest } from '../oci/manifest.ts'
import { formatPlatform } from '../oci/platform.ts'
import type { Plan } from './plan.ts'

/** What registries call a child that is not there; distribution-spec, "Error Codes". */
const UNKNOWN = ['MANIFEST_BLOB_UNKNOWN', 'MANIFEST_UNKNOWN', 'BLOB_UNKNOWN', 'MANIFEST_INVALID', 'NAME_UNKNOWN']

/**
 * A refusal of an index of which children were left out, in words that help: the index cannot be there, its children can.
 * @returns undefined when that is not what happened.
 */
export function refusedSparse(thrown: unknown, manifest: Manifest, plan: Plan): PromoteError | undefined {
  if (!(thrown instanceof PromoteError) || manifest.shape !== 'index') return undefined
  if (!thrown.server.some(({ code }) => UNKNOWN.includes(code))) return undefined
  const children = manifest.links.filter((link) => link.role === 'child')
  const nodeOf = ({ descriptor }: (typeof children)[number]) => plan.graph.nodes.get(`manifest ${descriptor.digest}`)
  const copied = children.filter((link) => nodeOf(link)?.leave === undefined)
  if (copied.length === children.length) return undefined
  const names = copied.map(({ descriptor: { digest, platform } }) =>
    platform === undefined ? digest : `${digest} (${formatPlatform(platform)})`,
  )
  const left = children.length - copied.length
  return new PromoteError(
    'UNSUPPORTED',
    `${thrown.message} The registry takes no index of which children are missing: ${left} of ${children.length} were left out.`,
    {
      ...thrown,
      cause: thrown,
      transient: false,
      hint: `Promote all of it, or these by digest, SRC@DIGEST=DST:TAG, each with a tag of its own: ${listed(names, 20)}.`,
    },
  )
}
