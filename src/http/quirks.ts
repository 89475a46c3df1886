/** What registries do that no specification says: each with the software that does it, and where that is written. */
import type { Code, PromoteError } from '../core/errors.ts'
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

/** Why storage behind a registry is not reached, and how the registry gives the bytes out itself. */
export const DIRECT = `The registry's storage has a name that this machine does not know. Let this machine resolve it, or turn redirects off: storage.redirect.disable in distribution's configuration; on OpenShift: oc patch configs.imageregistry.operator.openshift.io/cluster --type merge -p '{"spec":{"disableRedirect":true}}'`

/**
 * Credentials that end with 400 or 403 in place of 401: public.ecr.aws ("The authorization token is invalid."), ECR ("Your
 * authorization token has expired. Reauthenticate and try again.",
 * https://docs.aws.amazon.com/AmazonECR/latest/userguide/common-errors-docker.html), proxies with a session of their own.
 */
const EXPIRED =
  /\b(?:token|credentials?|authorization|login|session)\b[^"]{0,80}\b(?:expired?|invalid|revoked|no longer valid)\b|\b(?:expired|invalid)\b[^"]{0,30}\b(?:token|credentials?)\b|\bre-?authenticate|\bauthenticate again/i

/** @param body the beginning of a refusal. */
export function saysExpired(body: string): boolean {
  return EXPIRED.test(body)
}

/** What a refusal means, by its words: registries give the same status for different things. `By` tells who answers so, and where it is written. */
type Refusal = Readonly<{
  /** Sought in status, codes and messages, in one text. */
  said: RegExp
  access?: 'push' | 'pull'
  code: Code
  hint: (refused: Refused) => string
}>

/** @property said codes and messages of the answer in one text. */
type Refused = Readonly<{ status: number; said: string; access: 'push' | 'pull'; host: string; repository: string }>

const ECR = /^(\d{12})\.dkr\.ecr(?:-fips)?\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?$/
const GAR = /^([a-z0-9-]+)-docker\.pkg\.dev$/

/** The first that fits counts. */
export const REFUSALS: readonly Refusal[] = [
  {
    // By: Harbor (replication and proxy projects, https://goharbor.io/docs/main/administration/), Quay (https://docs.quay.io), distribution and OpenShift in read-only mode (https://distribution.github.io/distribution/about/configuration/#readonly: 405)
    said: /^405 |read[- ]?only|maintenance|pushes (?:is|are) (?:disabled|suspended)|push(?:es|ing)? (?:is |are )?(?:currently )?(?:disabled|suspended)|write operations|proxy (?:cache|project)/i,
    access: 'push',
    code: 'UNAVAILABLE',
    hint: ({ host }) =>
      `${host} takes no pushes there: it is in read-only mode (maintenance, garbage collection, a hard prune), or the repository is a proxy cache. Run it again when that is over (what is copied already is not sent again), or choose another repository.`,
  },
  {
    // By: Harbor (https://goharbor.io/docs/main/working-with-projects/project-configuration/configure-project-quotas/), Quay, OpenShift (ResourceQuota, ImageStream limits), GitLab, full disks
    said: /quota|exceed[a-z]{0,3} [^"]{0,60}limit|no space left|insufficient storage|storage limit|LimitExceeded/i,
    code: 'QUOTA',
    hint: ({ host, repository }) =>
      `There is no room left for ${repository} at ${host}: a quota or the disk is full. Let its administrator raise it, or remove old images there.`,
  },
  {
    // By: Harbor (412 PROJECTPOLICYVIOLATION), Artifactory with Xray, Docker Hub and ACR with content policies
    said: /PROJECTPOLICYVIOLATION|vulnerabilit|not signed|xray|quarantine|block(?:ed|s) [^"]{0,40}(?:download|pull|polic)|(?:pull|download)[^"]{0,40}block/i,
    code: 'DENIED',
    hint: ({ host, repository }) =>
      `A policy of ${host} keeps ${repository} from being used until it is scanned, signed or excepted. Ask its administrator; no credential changes that.`,
  },
  {
    // By: Quay without OCI artifacts, ECR, Artifactory, Nexus and registries older than OCI 1.1
    said: /media ?type|manifest (?:type|schema)[^"]{0,40}not (?:supported|allowed)|artifact[^"]{0,60}(?:not (?:supported|allowed)|disabled)|unsupported manifest|UNSUPPORTED_MEDIA/i,
    access: 'push',
    code: 'UNSUPPORTED',
    hint: ({ host }) =>
      `${host} does not take this kind of manifest. Ask its administrator to allow OCI artifacts, or leave signatures and SBOMs behind with referrers: false.`,
  },
  {
    // By: ECR (https://docs.aws.amazon.com/AmazonECR/latest/userguide/repository-create.html), Artifact Registry, Harbor, Nexus: repositories or projects are not made by a push
    said: /NAME_UNKNOWN|(?:repository|project)\b[^;]{0,100}(?:not found|not known|does not exist|unknown)/i,
    access: 'push',
    code: 'NOT_FOUND',
    hint: ({ host, repository }) =>
      `${host} has no ${repository}, and a push does not make it. ${creation(host, repository)}`,
  },
]

function creation(host: string, repository: string): string {
  const [, account, region] = ECR.exec(host) ?? []
  if (account !== undefined)
    return `Run: aws ecr create-repository --registry-id ${account} --region ${region} --repository-name ${repository}`
  if (host === 'public.ecr.aws')
    return `Run: aws ecr-public create-repository --region us-east-1 --repository-name ${repository.split('/').slice(1).join('/')}`
  const [, location] = GAR.exec(host) ?? []
  const [project, name] = repository.split('/')
  return location === undefined
    ? 'Create the repository or project there first.'
    : `Run: gcloud artifacts repositories create ${name} --project ${project} --location ${location} --repository-format docker`
}

/** What is known of a refusal by its words; undefined where status and code say all. */
export function explainRefusal(refused: Refused): Readonly<{ code: Code; hint: string }> | undefined {
  // Of these a proxy in front of the registry may be the author.
  if ([502, 503, 504].includes(refused.status)) return undefined
  const text = `${refused.status} ${refused.said}`
  const found = REFUSALS.find(({ said, access }) => said.test(text) && (access ?? refused.access) === refused.access)
  return found && { code: found.code, hint: found.hint(refused) }
}
