import { provingAnswers, type Target } from '../copy/store.ts'
import { ACCEPT, linked } from '../oci/manifest.ts'
import { discard } from '../transport/request.ts'
import { isStored, openBlob, probe } from './blobs.ts'
import { askOnce, createEndpoint, type Endpoint, type RegistryOptions } from './endpoint.ts'
import { createListings } from './listings.ts'
import { createManifests } from './manifests.ts'
import { startUpload, type UploadLimits } from './uploads.ts'

/** One repository of a registry that speaks the distribution API: OpenShift's own, Quay, GHCR, Harbor, … */
export function openRepository(options: RegistryOptions): Target {
  const endpoint = createEndpoint(options)
  const manifests = createManifests(endpoint)
  const listings = createListings(endpoint, manifests)
  const limits: UploadLimits = { probes: true, largest: undefined }
  const inventory = askOnce(async () => options.inventory?.(), options.context)
  let listsReferrers: Promise<boolean> | undefined
  let known: boolean | undefined

  return {
    name: endpoint.name,
    resolve: manifests.resolve,
    manifest: manifests.manifest,
    find: manifests.find,
    locate: manifests.locate,
    referrers: listings.referrers,
    listTags: listings.listTags,
    removeTag: options.removeTag ?? ((tag) => deleteTag(endpoint, tag)),
    inventory,
    evidence: endpoint.evidence,
    blob: (descriptor, offset = 0) => openBlob(endpoint, descriptor, offset),
    async has(descriptor, kind) {
      const [there, evidence] = await Promise.all([inventory(), endpoint.evidence()])
      if (there?.has(descriptor.digest)) return true
      const proving = provingAnswers(evidence)
      if (proving === 'none') return false
      if (proving === 'all' && kind === 'manifest' && manifests.has(descriptor.digest)) return true
      const named = evidence === undefined ? there : evidence.named
      if (named !== undefined && !named.has(descriptor.digest)) return false
      // OpenShift's storage gives manifests out as blobs too.
      if (kind === 'blob' || proving !== 'all') return isStored(endpoint, descriptor, false)
      const res = await probe(endpoint, `manifests/${descriptor.digest}`, { accept: ACCEPT })
      return res?.status === 200
    },
    startUpload: (blob, mountFrom) => startUpload({ endpoint, limits, blob }, mountFrom),
    async putManifest(manifest, tag) {
      const { digest, subject } = await manifests.put(manifest, tag)
      const [parent] = linked(manifest, 'subject')
      if (parent === undefined) return digest
      // ECR has answered with OCI-Subject and listed nothing (aws/containers-roadmap#2783), so the first one is looked up.
      const isListed = async () => subject !== undefined && listings.lists(parent.digest, manifest.descriptor.digest)
      listsReferrers ??= isListed()
      known = await listsReferrers
      return digest
    },
    get listsReferrers() {
      return known
    },
  }
}

/**
 * distribution-spec "Deleting tags". Registries without it answer 400, 404 or 405, or want a right that pushers lack; OpenShift's
 * says 202 and does nothing. So what counts is whether the tag is there afterwards.
 */
async function deleteTag(endpoint: Endpoint, tag: string): Promise<boolean> {
  const url = endpoint.url(`manifests/${tag}`)
  const scopes = [`repository:${endpoint.repository}:delete`]
  await discard(await endpoint.call('push', { method: 'DELETE', url, scopes }))
  const res = await endpoint.call('pull', { method: 'HEAD', url, headers: { accept: ACCEPT } })
  await discard(res)
  return res.status === 404
}
