/** What registries do that no specification says: each with the software that does it, and where that is written. */
import type { PromoteError } from '../core/errors.ts'
import { discard, type Response, type Send } from '../transport/request.ts'
import { header } from './response.ts'

/** What makes the route of OpenShift's registry (openshift/cluster-image-registry-operator pkg/resource/route.go). */
export const EXPOSE_REGISTRY = `oc patch configs.imageregistry.operator.openshift.io/cluster --type merge -p '{"spec":{"defaultRoute":true}}'`

/**
 * OpenShift's router for a host without a route (openshift/router conf/error-page-503.http). After another answer of the
 * host it is the page of a route whose pod restarts.
 * @param said what the page says, where it was read: another proxy may answer with a page of its own.
 */
export function isUnexposed(res: Response, said?: string): boolean {
  const isPage = res.status === 503 && (header(res, 'content-type') ?? '').toLowerCase().startsWith('text/html')
  return isPage && res.isFirst === true && (said === undefined || said.includes('"Application is not available"'))
}

/** OpenShift's registry sends this header in every answer, and no other registry does. */
export function isOpenShift(res: Response): boolean {
  return header(res, 'x-registry-supports-signatures') !== undefined
}

/** OpenShift's registry when its API did not answer: 400 without a body (openshift/image-registry auth.go). */
export function isEmpty400(res: Response, repository: string): boolean {
  const known = header(res, 'docker-distribution-api-version') !== undefined
  return res.status === 400 && known && header(res, 'content-length') === '0' && repository.split('/').length === 2
}

/** OpenShift's registry for a manifest by digest when there is no such image stream: 500 (imagestream.go resolveUpstreamRef). */
export function isStreamMissing(res: Response, { server }: PromoteError): boolean {
  return isOpenShift(res) && res.status === 500 && server.some(({ code }) => code === 'UNKNOWN')
}

/**
 * OpenShift's registry says "access denied" for an expired token and for a missing right alike; only `GET /v2/` with the
 * same token tells them apart (openshift/image-registry pkg/dockerregistry/server/auth.go).
 */
export async function acceptsCredential(send: Send, registry: URL): Promise<boolean> {
  const res = await send({ method: 'GET', url: new URL('/v2/', registry) })
  await discard(res)
  return res.status !== 401
}

/**
 * OpenShift's registry writes the digest in an entity tag with quotes when the blob is in its storage, and without them
 * when it asks another registry (openshift/image-registry pullthroughblobstore.go setResponseHeaders). It redirects only
 * to its own storage.
 */
export function isFromStorage(res: Response, registry: URL, digest: string): boolean {
  return res.url.origin !== registry.origin || header(res, 'etag') === `"${digest}"`
}
