import { Secret } from '../../src/core/secret.ts'
import { fixedLogin } from '../../src/credentials/login.ts'
import { type Cluster, type ClusterAccess, openCluster } from '../../src/openshift/cluster.ts'
import {
  API,
  review,
  type Script,
  type Scripted,
  type ScriptedNetwork,
  scriptedNetwork,
  status,
  type TestContext,
  TOKEN,
  testContext,
} from './openshift.ts'

/** A cluster behind a scripted network, after a login as bob by token; what its API says is each test's own. */

export const REVIEWS = `POST ${API}/apis/authentication.k8s.io/v1/selfsubjectreviews`
export const STREAMS = `${API}/apis/image.openshift.io/v1/namespaces/dev/imagestreams`
export const SHARED = `GET ${API}/apis/image.openshift.io/v1/namespaces/openshift/imagestreams`
export const STREAM = `GET ${STREAMS}/app`
export const LAYERS = `GET ${STREAMS}/app/layers`
export const CREATE = `POST ${STREAMS}`
export const LIST = `GET ${STREAMS}`
export const PROJECT = `GET ${API}/apis/project.openshift.io/v1/projects/dev`
export const QUOTAS = `GET ${API}/api/v1/namespaces/dev/resourcequotas`
export const LIMITS = `GET ${API}/api/v1/namespaces/dev/limitranges`
export const ACCESS = `POST ${API}/apis/authorization.k8s.io/v1/selfsubjectaccessreviews`
export const DISCOVERY = `GET ${API}/.well-known/oauth-authorization-server`
export const ROUTE = 'default-route-openshift-image-registry.apps.ocp.example.com'
export const PROBE = `GET https://${ROUTE}/v2/`
export const SERVICE = 'image-registry.openshift-image-registry.svc:5000'
export const DIGEST = `sha256:${'a'.repeat(64)}` as const
export const OLD = `sha256:${'b'.repeat(64)}` as const

export type Opened = { network: ScriptedNetwork; context: TestContext; cluster: Cluster }

export async function open(script: Script, access: Partial<ClusterAccess> = {}): Promise<Opened> {
  const network = scriptedNetwork({ [REVIEWS]: review('bob'), ...script })
  const context = testContext()
  const login = fixedLogin('token of --destination-token', { kind: 'bearer', token: new Secret(TOKEN) })
  const way = { kind: 'token', login } as const
  const cluster = await openCluster(
    'destination',
    { api: new URL(API), network, way, inCluster: false, ...access },
    context,
  )
  network.seen.splice(0)
  return { network, context, cluster }
}

export function stream(hosts: { public?: string; internal?: string } = { public: ROUTE, internal: SERVICE }): Scripted {
  const body = {
    kind: 'ImageStream',
    metadata: { name: 'app', namespace: 'dev' },
    spec: {
      lookupPolicy: { local: false },
      tags: [
        { name: 'tracking', from: { kind: 'ImageStreamTag', name: 'base:latest', namespace: 'shared' } },
        { name: 'scheduled', from: { kind: 'DockerImage', name: 'quay.io/x/y:1' }, importPolicy: { scheduled: true } },
        { name: 'imported', from: { kind: 'DockerImage', name: 'quay.io/x/y:1' }, importPolicy: {} },
        { name: 'pinned', from: { kind: 'ImageStreamImage', name: `app@${DIGEST}` }, importPolicy: null },
        { name: 'plain', annotations: null },
      ],
    },
    status: {
      ...(hosts.internal && { dockerImageRepository: `${hosts.internal}/dev/app` }),
      ...(hosts.public && { publicDockerImageRepository: `${hosts.public}/dev/app` }),
      tags: [
        { tag: '1.2', items: [{ image: DIGEST, generation: 2 }, { image: OLD }] },
        { tag: 'empty', items: null },
        { tag: 'odd', items: [{ image: 'not a digest' }] },
      ],
    },
  }
  return { status: 200, body }
}

export const NO_STREAM = status(404, 'NotFound', 'imagestreams.image.openshift.io "app" not found', {
  name: 'app',
  kind: 'imagestreams',
})
export const FORBIDDEN = status(
  403,
  'Forbidden',
  'imagestreams.image.openshift.io "app" is forbidden: User "bob" cannot get resource',
)
export const NO_CREATE = status(
  403,
  'Forbidden',
  'imagestreams.image.openshift.io is forbidden: User "bob" cannot create resource',
)
export const NO_PROJECT = status(404, 'NotFound', 'namespaces "dev" not found', { name: 'dev', kind: 'namespaces' })
export const PROJECT_404 = status(404, 'NotFound', 'projects.project.openshift.io "dev" not found', {
  name: 'dev',
  kind: 'projects',
})
export const PROJECT_403 = status(403, 'Forbidden', 'projects.project.openshift.io "dev" is forbidden')
export const PROJECT_200: Scripted = { status: 200, body: { kind: 'Project', metadata: { name: 'dev' } } }
export const EMPTY_LIST: Scripted = { status: 200, body: { items: [] } }
