import { startCluster } from '../../support/cluster/cluster.ts'
import { makeIndex, seedImage } from '../../support/cluster/image.ts'
import { startRegistry } from '../../support/cluster/plain.ts'
import type { SpecTag } from '../../support/cluster/state.ts'
import { byPassword, byToken } from '../sides.ts'
import { atApi, JSON_TYPE, status } from './answers.ts'
import { startProxy } from './proxy.ts'
import { IMAGE, onThatOccasion, type Situation, type Stage } from './stage.ts'

/** Finding the registry, rights, and what is or is not in it. */

const as =
  (login: string) =>
  ({ cluster }: Stage) =>
    byToken(cluster, cluster.token(login))
const stream =
  (repository: string) =>
  ({ cluster }: Stage) => {
    const [namespace = '', name = ''] = repository.split('/')
    cluster.state.streams.create(namespace, name)
  }
const put = /\/manifests\/1\.0$/
const ROUTE = 'default-route-openshift-image-registry.apps.ocp.example.com'
const NAMES = { api: 'api.ocp.example.com', oauth: 'oauth-openshift.apps.ocp.example.com', registry: ROUTE }

/** The creation of the image stream is refused in these words. */
const refused = (code: number, message: string) =>
  atApi({
    match: { method: 'POST', path: /imagestreams(\?|$)/ },
    do: { kind: 'status', status: code, headers: JSON_TYPE, body: status(code, message) },
  })
const FORBIDDEN = 'imagestreams.image.openshift.io "app" is forbidden:'
const IMPORTED: SpecTag = { name: '1.0', from: { kind: 'DockerImage', name: 'quay.io/team/app:1.0' } }

/** The tag of the source is what the image stream's spec says, and holds no image. */
const empty =
  (tag: SpecTag) =>
  ({ cluster }: Stage) => {
    const found = cluster.state.streams.get('dev', 'app')
    found?.tags.delete('1.0')
    found?.spec.set('1.0', tag)
  }
const failedImport = ({ cluster }: Stage) => {
  cluster.state.streams.get('dev', 'app')?.conditions.set('1.0', {
    type: 'ImportSuccess',
    status: 'False',
    reason: 'NotFound',
    message: 'dockerimage.image.openshift.io "quay.io/team/app:1.0" not found',
    lastTransitionTime: '2099-01-01T00:00:00Z',
    generation: 2,
  })
}

export const FINDING: readonly Situation[] = [
  {
    when: 'the registry has no route',
    code: 'NOT_EXPOSED',
    says: 'Looking for the registry of …: the registry is not reachable from outside the cluster….',
    cluster: { registryExposed: false },
  },
  {
    when: 'the registry has no route, and only the router can say so',
    code: 'NOT_EXPOSED',
    says: 'Looking for the registry of …: the registry is not reachable from outside the cluster….',
    cluster: { hostnames: NAMES, registryExposed: false },
    arrange: ({ cluster }) => cluster.state.streams.remove('openshift', 'cli'),
    way: as('puller'),
    run: async ({ cluster, also }) => {
      const proxy = also(await startProxy())
      proxy.names.set(`${ROUTE}:443`, Number(cluster.registry.port))
      return { env: { HTTPS_PROXY: proxy.url } }
    },
  },
  {
    when: 'the registry was removed from the cluster',
    code: 'NOT_EXPOSED',
    says: 'Looking for the registry of …: this cluster has no integrated registry.',
    arrange: ({ cluster }) => {
      cluster.state.hosts.internal = ''
      delete cluster.state.hosts.public
    },
  },
  {
    when: 'the route that is named has gone',
    code: 'NOT_EXPOSED',
    says: '…: 503 with an HTML page: "Application is not available".',
    arrange: ({ cluster }) => {
      cluster.options.registry.exposed = false
    },
  },
  {
    when: 'nothing tells the address of the registry',
    code: 'REGISTRY_UNKNOWN',
    says: 'Looking for the registry of …: no image stream that may be read names it, and ….',
    arrange: ({ cluster }) => cluster.state.streams.remove('openshift', 'cli'),
    way: as('puller'),
  },
  {
    when: 'the registry that is given is not the cluster’s',
    code: 'CREDENTIAL_MISSING',
    says: '…: 401 UNAUTHORIZED "…".',
    way: async ({ cluster, also }) => {
      const other = also(await startRegistry({ access: { kind: 'basic', user: 'u', password: 'password' } }))
      seedImage(other, 'dev/app', IMAGE, '1.0')
      return { ...byPassword(cluster), registry: other.url.origin }
    },
  },
]

export const RIGHTS: readonly Situation[] = [
  {
    when: 'the user may not pull',
    code: 'DENIED',
    says: '…: 401 UNAUTHORIZED "authentication required". The token is good, but … may not pull ….',
    way: ({ cluster }) => ({ ...byPassword(cluster), 'service-account': 'prod/pusher' }),
  },
  {
    when: 'the user may not push',
    code: 'DENIED',
    side: 'destination',
    says: '…: 401 UNAUTHORIZED "authentication required". The token is good, but … may not push ….',
    arrange: stream('prod/app'),
    way: as('viewer'),
  },
  {
    when: 'the user may not list the project',
    code: 'DENIED',
    says: 'Listing the image streams of … as …: … answered 403 "…".',
    images: 'dev/*:1.0=out/*',
    way: as('puller'),
  },
  {
    when: 'an admission webhook refuses the image stream',
    code: 'DENIED',
    side: 'destination',
    says: 'Creating the image stream … as …: … answered 403 "admission webhook … denied the request: …".',
    arrange: refused(403, 'admission webhook "v.example" denied the request: image streams need the label owner'),
  },
  {
    when: 'a policy of the API server refuses the image stream',
    code: 'DENIED',
    side: 'destination',
    says: 'Creating the image stream … as …: … answered 422 "… ValidatingAdmissionPolicy … denied request: …".',
    arrange: refused(
      422,
      `${FORBIDDEN} ValidatingAdmissionPolicy 'owners' with binding 'all' denied request: no owner`,
    ),
  },
  {
    when: 'the scopes of the token do not allow the creation',
    code: 'DENIED',
    side: 'destination',
    says: 'Creating the image stream … as …: … answered 403 "…: scopes … prevent this action".',
    arrange: refused(
      403,
      'imagestreams.image.openshift.io is forbidden: User "x" cannot create resource "imagestreams": scopes [user:info] prevent this action',
    ),
  },
  {
    when: 'an admission plugin refuses the image stream',
    code: 'DENIED',
    side: 'destination',
    says: 'Creating the image stream … as …: … answered 403 "… is forbidden: …".',
    arrange: refused(403, `${FORBIDDEN} the name does not follow the rules of this cluster`),
  },
  {
    when: 'an admission webhook is down',
    code: 'UNAVAILABLE',
    side: 'destination',
    says: 'Creating the image stream … as …: … answered 500 "Internal error occurred: failed calling webhook …".',
    arrange: refused(500, 'Internal error occurred: failed calling webhook "v.example": context deadline exceeded'),
  },
  {
    when: 'the project is being deleted',
    code: 'PROJECT_MISSING',
    side: 'destination',
    says: 'Creating the image stream … as …: … answered 403 "… because it is being terminated".',
    arrange: ({ cluster }) => Object.assign(cluster.state.projects.get('prod') ?? {}, { terminating: true }),
  },
  {
    when: 'the project is deleted meanwhile',
    code: 'PROJECT_MISSING',
    side: 'destination',
    says: '…: writing manifest …: 403 DENIED "…". The project … is being deleted.',
    arrange: (stage) => {
      stream('prod/app')(stage)
      const { cluster } = stage
      const when = onThatOccasion(() => {
        cluster.state.streams.remove('prod', 'app')
        Object.assign(cluster.state.projects.get('prod') ?? {}, { terminating: true })
      })
      cluster.faults.registry.add({ match: { method: 'PUT', path: put, when }, do: { kind: 'latency', ms: 0 } })
    },
  },
  {
    when: 'the user sees nothing of the project',
    code: 'PROJECT_MISSING',
    says: '…: 401 UNAUTHORIZED "authentication required". … sees nothing of the project …: it does not exist, or no right was given.',
    way: as('nobody'),
  },
  {
    when: 'the project at the destination does not exist',
    code: 'PROJECT_MISSING',
    side: 'destination',
    says: 'Creating the image stream … as …: … answered 404 "namespaces … not found".',
    way: as('admin'),
    images: 'team/app:1.0=nowhere/app:1.0',
  },
  {
    when: 'the project at the source does not exist',
    code: 'NOT_FOUND',
    says: '…: reading manifest …: 404 NAME_UNKNOWN "repository name not known to registry".',
    way: as('admin'),
    images: 'nowhere/app:1.0=out/app:1.0',
  },
  {
    when: 'a pusher’s image stream does not exist',
    code: 'STREAM_MISSING',
    side: 'destination',
    says: 'Creating the image stream … as …: … answered 403 "imagestreams.image.openshift.io is forbidden: …".',
    way: as('pusher'),
  },
  {
    when: 'the image stream is deleted meanwhile',
    code: 'STREAM_MISSING',
    side: 'destination',
    says: '…: writing manifest …: 403 DENIED "requested access to the resource is denied".',
    arrange: (stage) => {
      stream('prod/app')(stage)
      const match = {
        method: 'PUT',
        path: put,
        when: onThatOccasion(() => stage.cluster.state.streams.remove('prod', 'app')),
      }
      stage.cluster.faults.registry.add({ match, do: { kind: 'latency', ms: 0 } })
    },
    way: as('pusher'),
  },
  {
    when: 'the project may have no more image streams',
    code: 'QUOTA',
    side: 'destination',
    says: 'Creating the image stream … as …: … answered 403 "… is forbidden: exceeded quota: …".',
    arrange: ({ cluster }) =>
      cluster.state.projects.get('prod')?.quotas.set('streams', { 'openshift.io/imagestreams': '0' }),
    way: as('jane'),
  },
  {
    when: 'a limit range forbids images of this size',
    code: 'QUOTA',
    side: 'destination',
    says: '…: writing manifest …: 403 DENIED "…". The project limits images: ….',
    arrange: ({ cluster }) => cluster.state.projects.get('prod')?.limits.set('sizes', { maxImageBytes: 10 }),
    way: as('jane'),
  },
  {
    when: 'the registry refuses a tag and gives no reason',
    code: 'DENIED',
    side: 'destination',
    says: '…: writing manifest …: 403 DENIED "…". The cluster does not say why.',
    arrange: ({ cluster }) =>
      cluster.faults.registry.add({
        match: { method: 'PUT', path: put },
        do: {
          kind: 'status',
          status: 403,
          headers: JSON_TYPE,
          body: '{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}',
        },
      }),
    way: as('jane'),
  },
  {
    when: 'the token is revoked while it runs',
    code: 'TOKEN_REJECTED',
    side: 'destination',
    says: '…: 401 UNAUTHORIZED "authentication required". It is expired, was revoked (by a logout, say), or belongs to another cluster.',
    arrange: ({ cluster }) =>
      cluster.faults.registry.add({
        match: { method: 'PUT', path: put, when: onThatOccasion(() => cluster.state.tokens.clear()) },
        do: { kind: 'latency', ms: 0 },
      }),
    way: as('jane'),
  },
  {
    when: 'the registry is of another cluster',
    code: 'TOKEN_REJECTED',
    says: '…: 401 UNAUTHORIZED "authentication required". The API … accepts the same token: the registry belongs to another cluster or cannot reach its API.',
    way: async (stage) => {
      const other = stage.also(await startCluster({ name: 'elsewhere' }))
      stage.cluster.state.hosts.public = other.registryHost
      const ca = `${stage.cluster.ca.bundle}${other.ca.bundle}`
      return { ...byPassword(stage.cluster), registry: other.registryHost, ca }
    },
  },
]

export const CONTENT: readonly Situation[] = [
  {
    when: 'the image stream does not exist',
    code: 'NOT_FOUND',
    says: '…: reading manifest …: 404 NAME_UNKNOWN "repository name not known to registry".',
    images: 'dev/nosuch:1.0=out/app:1.0',
  },
  {
    when: 'no repository of the project has the tag',
    code: 'NOT_FOUND',
    says: '…: 0 of … repositories are taken….',
    images: 'dev/*:9.9=out/*',
  },
  {
    when: 'the registry does not list its repositories',
    code: 'UNSUPPORTED',
    side: 'destination',
    blames: 'source',
    says: '…: listing the repositories: 404 ….',
    arrange: ({ plain }) => plain.faults.add({ match: { path: /_catalog/ }, do: { kind: 'status', status: 404 } }),
    images: 'team/*:1.0=prod/*',
  },
  {
    when: 'the tag does not exist',
    code: 'NOT_FOUND',
    says: '…: reading manifest …: 404 MANIFEST_UNKNOWN "manifest unknown".',
    images: 'dev/app:9.9=out/app:1.0',
  },
  {
    when: 'the tag could not be imported',
    code: 'NOT_FOUND',
    says: '… has no image: its import from … failed (…).',
    arrange: (stage) => {
      empty(IMPORTED)(stage)
      failedImport(stage)
    },
  },
  {
    when: 'the tag is not imported yet',
    code: 'NOT_FOUND',
    says: '… has no image: its import from … is not finished.',
    arrange: empty(IMPORTED),
  },
  {
    when: 'the tag follows an empty one',
    code: 'NOT_FOUND',
    says: '… has no image: it follows …, which has no image.',
    arrange: empty({ name: '1.0', from: { kind: 'ImageStreamTag', name: 'base:1', namespace: 'shared' } }),
  },
  {
    when: 'the tag is a reference alone',
    code: 'NOT_FOUND',
    says: '… has no image: the tag only refers to … (reference: true), and nothing was imported.',
    arrange: empty({ ...IMPORTED, reference: true }),
  },
  {
    when: 'the digest is not in the image stream',
    code: 'NOT_FOUND',
    says: '…: reading manifest …: 404 MANIFEST_UNKNOWN "manifest unknown".',
    images: `dev/app@sha256:${'0'.repeat(64)}=out/app:1.0`,
  },
  {
    when: 'the image stream of a digest does not exist',
    code: 'NOT_FOUND',
    says: '…: reading manifest …: 500 UNKNOWN "unknown error".',
    images: `dev/nosuch@sha256:${'0'.repeat(64)}=out/app:1.0`,
  },
  {
    when: 'the registry has lost a layer',
    code: 'NOT_FOUND',
    says: '…: reading blob …: 404 BLOB_UNKNOWN "blob unknown to registry" …',
    arrange: ({ cluster }) => cluster.store.blobs.delete([...IMAGE.blobs.keys()][0] ?? IMAGE.root.digest),
  },
  {
    when: 'the image was imported and its home lost it',
    code: 'NOT_FOUND',
    says: '…: reading manifest …: 404 OPENSHIFT_PULLTHROUGH_MANIFEST "unable to pull manifest from …".',
    arrange: ({ cluster }) =>
      cluster.faults.registry.add({
        match: { path: /\/manifests\// },
        do: {
          kind: 'status',
          status: 404,
          headers: JSON_TYPE,
          body: '{"errors":[{"code":"OPENSHIFT_PULLTHROUGH_MANIFEST","message":"unable to pull manifest from quay.io/x/app:1.0: manifest unknown"}]}',
        },
      }),
  },
  {
    when: 'the tag is at another digest',
    code: 'TAG_MISMATCH',
    says: '… is at sha256:…, not at sha256:…',
    images: `dev/app:1.0@sha256:${'0'.repeat(64)}=out/app:1.0`,
  },
  {
    when: 'the image has no such platform',
    code: 'PLATFORM_MISSING',
    says: 'the source image has no …; it has …',
    arrange: ({ cluster }) => seedImage(cluster, 'dev/multi', makeIndex({ seed: 22 }), '1.0'),
    images: 'dev/multi:1.0=out/app:1.0',
    more: () => ({ platforms: 'linux/s390x' }),
  },
  {
    when: 'the image is of schema 1',
    code: 'UNSUPPORTED',
    says: '…: reading manifest …: Docker schema 1 is not supported.',
    arrange: ({ cluster }) =>
      cluster.faults.registry.add({
        match: { path: /\/manifests\// },
        do: {
          kind: 'status',
          status: 200,
          headers: { 'Content-Type': 'application/vnd.docker.distribution.manifest.v1+prettyjws' },
          body: '{"schemaVersion":1,"name":"dev/app","tag":"1.0","fsLayers":[]}',
        },
      }),
  },
  {
    when: 'a layer arrives damaged',
    code: 'DIGEST_MISMATCH',
    says: "the source's bytes of blob sha256:… have the digest sha256:…",
    arrange: ({ cluster }) =>
      cluster.faults.registry.add({ match: { path: /\/blobs\// }, do: { kind: 'corrupt', at: 100 } }),
  },
  {
    when: 'the name has three parts',
    code: 'USAGE',
    says: '"…" cannot be in an OpenShift registry: it takes exactly project/name.',
    images: 'dev/team/app:1.0=out/app:1.0',
  },
]

const says = (status: number, code: string, message: string) => ({
  kind: 'status' as const,
  status,
  headers: JSON_TYPE,
  body: JSON.stringify({ errors: [{ code, message }] }),
})
const refusePush =
  (status: number, code: string, message: string) =>
  ({ plain }: Stage) =>
    plain.faults.add({ match: { method: ['POST', 'PUT', 'PATCH'] }, do: says(status, code, message) })
const refuseManifest =
  (status: number, code: string, message: string) =>
  ({ plain }: Stage) =>
    plain.faults.add({ match: { path: /\/manifests\// }, do: says(status, code, message) })

/** What a registry says when it refuses; the cluster is on the other side. */
export const REFUSALS: readonly Situation[] = [
  {
    when: 'the registry is in read-only mode',
    code: 'UNAVAILABLE',
    blames: 'destination',
    says: '…: beginning the upload of blob …: 405 UNSUPPORTED "The operation is unsupported.".',
    arrange: refusePush(405, 'UNSUPPORTED', 'The operation is unsupported.'),
  },
  {
    when: 'pushes are disabled',
    code: 'UNAVAILABLE',
    blames: 'destination',
    says: '…: beginning the upload of blob …: 403 DENIED "…".',
    arrange: refusePush(403, 'DENIED', 'The system is in read only mode. Any modification is prohibited.'),
  },
  {
    when: 'the quota of the registry is used up',
    code: 'QUOTA',
    blames: 'destination',
    says: '…: beginning the upload of blob …: 403 DENIED "…".',
    arrange: refusePush(403, 'DENIED', 'adding 3 GiB will exceed the configured upper limit of 10 GiB'),
  },
  {
    when: 'the registry has no such repository',
    code: 'NOT_FOUND',
    blames: 'destination',
    says: '…: beginning the upload of blob …: 404 NAME_UNKNOWN "…".',
    arrange: refusePush(404, 'NAME_UNKNOWN', "The repository with name 'out/app' does not exist in the registry"),
  },
  {
    when: 'the registry takes no such manifest',
    code: 'UNSUPPORTED',
    blames: 'destination',
    says: '…: writing manifest …: 400 MANIFEST_INVALID "…".',
    arrange: ({ plain }) =>
      plain.faults.add({
        match: { method: 'PUT', path: /\/manifests\// },
        do: says(400, 'MANIFEST_INVALID', 'unsupported manifest media type'),
      }),
  },
  {
    when: 'a policy keeps the image from being pulled',
    code: 'DENIED',
    side: 'destination',
    blames: 'source',
    says: '…: reading manifest …: 412 PROJECTPOLICYVIOLATION "…".',
    arrange: refuseManifest(412, 'PROJECTPOLICYVIOLATION', 'current image with 3 vulnerabilities cannot be pulled'),
  },
  {
    when: 'the credential has expired, and the registry does not say 401',
    code: 'LOGIN_REJECTED',
    side: 'destination',
    blames: 'source',
    says: '…: reading manifest …: 403 DENIED "Your authorization token has expired. …".',
    arrange: refuseManifest(403, 'DENIED', 'Your authorization token has expired. Reauthenticate and try again.'),
    more: () => ({ 'source-username': 'jane', 'source-password': 'good-once' }),
  },
  {
    when: 'the storage behind the registry has a name that only the registry knows',
    code: 'NETWORK',
    says: '…: the server redirected to …, which does not resolve. …: the name … is unknown (ENOTFOUND).',
    arrange: ({ cluster }) =>
      cluster.faults.registry.add({
        match: { path: /\/blobs\// },
        do: { kind: 'redirect', to: 'https://minio.storage.invalid/blob' },
      }),
  },
  {
    when: 'the registry redirects to another one, which refuses',
    code: 'CREDENTIAL_MISSING',
    side: 'destination',
    blames: 'source',
    says: '…: reading manifest …: 401 …. It was … that refused, to which … redirects.',
    arrange: async ({ plain, also }) => {
      const other = also(await startRegistry())
      other.faults.add({ match: {}, do: says(401, 'UNAUTHORIZED', 'authentication required') })
      const to = `${other.url.origin}/v2/team/app/manifests/1.0`
      plain.faults.add({ match: { path: /\/manifests\// }, do: { kind: 'redirect', to } })
    },
  },
  {
    when: 'the registry offers a blob of another size',
    code: 'DIGEST_MISMATCH',
    side: 'destination',
    blames: 'source',
    says: '…: reading blob …: the manifest says … bytes, … bytes are offered.',
    arrange: ({ plain }) =>
      plain.faults.add({
        match: { method: 'GET', path: /\/blobs\// },
        do: { kind: 'status', status: 200, body: 'x'.repeat(100_000) },
      }),
  },
]

export const WARNINGS: readonly Situation[] = [
  {
    when: 'the tag follows another one',
    code: 'warning',
    side: 'destination',
    says: '…: the tag … follows the image stream tag …: the next change there replaces what is promoted',
    arrange: ({ cluster }) => {
      const created = cluster.state.streams.create('prod', 'app')
      created.spec.set('1.0', { name: '1.0', from: { kind: 'ImageStreamTag', name: 'app:stable' } })
    },
  },
  {
    when: 'the tag is imported from elsewhere on a schedule',
    code: 'warning',
    side: 'destination',
    says: '…: the tag … is imported from … on a schedule: the next import replaces what is promoted',
    arrange: ({ cluster }) => {
      const from = { kind: 'DockerImage', name: 'quay.io/x/app:1.0' }
      const created = cluster.state.streams.create('prod', 'app')
      created.spec.set('1.0', { name: '1.0', from, importPolicy: { scheduled: true } })
    },
  },
  {
    when: 'the tag was imported from elsewhere',
    code: 'warning',
    side: 'destination',
    says: '…: the tag … was imported from …: the next import of it replaces what is promoted',
    arrange: ({ cluster }) => {
      const created = cluster.state.streams.create('prod', 'app')
      created.spec.set('1.0', { name: '1.0', from: { kind: 'DockerImage', name: 'quay.io/x/app:1.0' } })
    },
  },
  {
    when: 'the latest import of the tag failed',
    code: 'warning',
    says: 'source: the latest import of … failed, and an older image is promoted: …',
    arrange: failedImport,
  },
  {
    when: 'the tag at the destination is a reference',
    code: 'warning',
    side: 'destination',
    says: '…: the tag … is a reference to … (reference: true): the cluster may use that in place of what is promoted',
    arrange: ({ cluster }) => {
      cluster.state.streams.create('prod', 'app').spec.set('1.0', { ...IMPORTED, reference: true })
    },
  },
  {
    when: 'the registry that is given is not one that the cluster names',
    code: 'warning',
    says: '…: … is not what the cluster names as its registry, so its token is not sent there: …',
    way: async ({ cluster, also }) => {
      const other = also(await startRegistry())
      seedImage(other, 'dev/app', IMAGE, '1.0')
      return { ...byPassword(cluster), registry: other.url.origin }
    },
  },
  {
    when: 'the token of the run cannot be deleted',
    code: 'warning',
    says: '…: the token of this run could not be deleted at … (…); it expires at …',
    arrange: ({ cluster }) =>
      cluster.faults.api.add({ match: { method: 'DELETE' }, do: { kind: 'status', status: 500, body: 'etcd is sad' } }),
  },
  {
    when: 'certificates are not checked',
    code: 'warning',
    says: '…: certificates are not checked; anyone on the network path can read and change everything',
    way: ({ cluster }) => ({ ...byPassword(cluster), 'insecure-skip-tls-verify': 'true' }),
  },
]
