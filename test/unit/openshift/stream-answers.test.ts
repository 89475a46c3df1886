import { describe, expect, test } from '@jest/globals'
import type { Code } from '../../../src/core/errors.ts'
import { expectError, failureOf, type Script, type Scripted, status } from '../../support/openshift.ts'
import {
  CREATE,
  DIGEST,
  FORBIDDEN,
  LAYERS,
  NO_CREATE,
  NO_PROJECT,
  NO_STREAM,
  OLD,
  open,
  PROJECT,
  PROJECT_200,
  PROJECT_403,
  PROJECT_404,
  ROUTE,
  STREAM,
  STREAMS,
  stream,
} from '../../support/scripted-cluster.ts'

describe('an image stream', () => {
  test('is read once for address, digest and warning, however many ask side by side', async () => {
    const { network, cluster } = await open({ [STREAM]: stream() })
    const [address, digest, warning] = await Promise.all([
      cluster.registryFor('dev/app'),
      cluster.digestOf('dev/app', '1.2'),
      cluster.follows('dev/app', 'plain'),
    ])
    expect(address).toEqual({ host: ROUTE, plainHttp: false })
    expect(digest).toBe(DIGEST)
    expect(warning).toBeUndefined()
    expect(network.seen).toHaveLength(1)
  })

  test('knows no digest for tags that are absent, empty or odd', async () => {
    const { cluster } = await open({ [STREAM]: stream() })
    for (const tag of ['absent', 'empty', 'odd']) expect(await cluster.digestOf('dev/app', tag)).toBeUndefined()
  })

  test.each<[string, Scripted]>([
    ['is absent', NO_STREAM],
    ['may not be read', FORBIDDEN],
  ])('that %s is undefined, and so is its digest', async (_, answer) => {
    const { cluster } = await open({ [STREAM]: answer })
    expect(await cluster.stream('dev/app')).toBeUndefined()
    expect(await cluster.digestOf('dev/app', '1.2')).toBeUndefined()
    expect(await cluster.follows('dev/app', '1.2')).toBeUndefined()
  })

  test('that could not be read is read again by the next one who asks', async () => {
    const { cluster } = await open({ [STREAM]: [status(500, 'InternalError', 'x'), stream()] })
    expectError(await failureOf(cluster.stream('dev/app')), 'UNAVAILABLE', 'destination')
    expect(await cluster.digestOf('dev/app', '1.2')).toBe(DIGEST)
  })

  test.each<[string, Scripted, Code]>([
    ['401', status(401, 'Unauthorized', 'Unauthorized'), 'TOKEN_REJECTED'],
    ['HTML', { status: 403, headers: { 'content-type': 'text/html' }, body: '<html>' }, 'NOT_A_CLUSTER'],
    ['other JSON', { status: 200, body: { status: { tags: 'many' } } }, 'PROTOCOL'],
  ])('answered with %s fails', async (_, answer, code) => {
    const { cluster } = await open({ [STREAM]: answer })
    expectError(await failureOf(cluster.stream('dev/app')), code, 'destination')
  })

  test.each([
    ['tracking', 'shared/base:latest'],
    ['scheduled', 'schedule'],
    ['imported', 'quay.io/x/y:1'],
    ['pinned', `app@${DIGEST}`],
  ])('with the tag %s, which has an origin, is worth a warning', async (tag, words) => {
    const { cluster } = await open({ [STREAM]: stream() })
    expect(await cluster.follows('dev/app', tag)).toContain(words)
  })

  test.each(['app', 'a/b/c', '/app', 'dev/'])('cannot be named %s', async (repository) => {
    const { network, cluster } = await open({})
    expectError(await failureOf(cluster.stream(repository)), 'USAGE', 'destination')
    expect(network.seen).toEqual([])
  })

  test('has a name that stays one segment of the path', async () => {
    const { network, cluster } = await open({ [`GET ${STREAMS}/a%3Fb%23c`]: NO_STREAM })
    await cluster.stream('dev/a?b#c')
    expect(network.seen).toHaveLength(1)
    expectError(await failureOf(cluster.stream('dev/..')), 'USAGE', 'destination')
  })
})

describe('what the stream knows of a tag without an image, or with an old one', () => {
  const from = { kind: 'DockerImage', name: 'quay.io/x/y:1' }
  const failed = {
    type: 'ImportSuccess',
    status: 'False',
    reason: 'Unauthorized',
    message: 'you may not have access to quay.io/x/y:1',
    lastTransitionTime: '2026-01-02T00:00:00Z',
  }
  const holding = (spec: object | undefined, status: object | undefined): Scripted => ({
    status: 200,
    body: {
      spec: { tags: spec ? [{ name: 't', ...spec }] : [] },
      status: { tags: status ? [{ tag: 't', ...status }] : [] },
    },
  })

  test.each<[string, object, object | undefined, string]>([
    ['a failed import', { from }, { items: null, conditions: [failed] }, 'failed (Unauthorized: you may not'],
    [
      'a failed import without words',
      { from },
      { conditions: [{ ...failed, reason: null, message: null }] },
      'failed ()',
    ],
    [
      'a reference',
      { from, reference: true },
      { items: [{ dockerImageReference: 'quay.io/x/y:1' }] },
      'reference: true',
    ],
    [
      'a reference whose image was never looked at',
      { from, reference: true },
      undefined,
      'only refers to quay.io/x/y:1',
    ],
    ['an import that is not finished', { from }, undefined, 'from quay.io/x/y:1 is not finished'],
    [
      'a tag that follows another one',
      { from: { kind: 'ImageStreamTag', name: 'base:1', namespace: 'shared' } },
      undefined,
      'follows shared/base:1, which has no image',
    ],
  ])('%s', async (_, spec, tag, words) => {
    const { cluster } = await open({ [STREAM]: holding(spec, tag) })
    const error = await failureOf(cluster.digestOf('dev/app', 't'))
    expectError(error, 'NOT_FOUND', 'destination')
    expect(error.message).toContain(`dev/app:t has no image: `)
    expect(error.message).toContain(words)
    expect(error.hint).toContain('oc tag ')
    expect(error.hint).toContain(' dev/app:t')
  })

  test.each<[string, object | undefined, object, number]>([
    [
      'whose latest import failed',
      { from },
      { items: [{ image: DIGEST, created: '2026-01-01T00:00:00Z' }], conditions: [failed] },
      1,
    ],
    ['whose latest import failed, without times', { from }, { items: [{ image: DIGEST }], conditions: [failed] }, 1],
    [
      'that was pushed after a failed import',
      { from },
      { items: [{ image: DIGEST, created: '2026-01-03T00:00:00Z' }], conditions: [failed] },
      0,
    ],
    [
      'whose import succeeded',
      { from },
      { items: [{ image: DIGEST }], conditions: [{ ...failed, status: 'True' }] },
      0,
    ],
    ['that refers to an image which is known', { from, reference: true }, { items: [{ image: DIGEST }] }, 0],
  ])('a tag %s has its image, and so many warnings', async (_, spec, tag, warnings) => {
    const { cluster, context } = await open({ [STREAM]: holding(spec, tag) })
    expect(await cluster.digestOf('dev/app', 't')).toBe(DIGEST)
    const lines = context.lines.filter((line) => line.startsWith('warn '))
    expect(lines).toHaveLength(warnings)
    if (warnings > 0) expect(lines[0]).toMatch(/the latest import of dev\/app:t failed.*Unauthorized/)
  })

  test('a reference at a destination is worth a warning', async () => {
    const { cluster } = await open({ [STREAM]: holding({ from, reference: true }, undefined) })
    expect(await cluster.follows('dev/app', 't')).toContain('is a reference to quay.io/x/y:1')
  })
})

describe('the inventory', () => {
  test('is the digests of blobs and images', async () => {
    const body = {
      kind: 'ImageStreamLayers',
      blobs: { [DIGEST]: { size: 1 }, junk: {} },
      images: { [OLD]: { layers: null } },
    }
    const { cluster } = await open({ [STREAM]: stream(), [LAYERS]: { status: 200, body } })
    expect((await cluster.evidence('dev/app')).named).toEqual(new Set([DIGEST, OLD]))
  })

  test.each([403, 404])('is undefined after a %i', async (code) => {
    const { cluster } = await open({ [STREAM]: stream(), [LAYERS]: status(code, 'x', 'x') })
    expect((await cluster.evidence('dev/app')).named).toBeUndefined()
  })
})

describe('preparing the image stream', () => {
  test('that exists costs nothing but its read', async () => {
    const { network, cluster } = await open({ [STREAM]: stream() })
    expect(await cluster.ensureStream('dev/app')).toBe('exists')
    expect(network.seen).toHaveLength(1)
  })

  test('that is missing creates it once; the answer names the registry and the inventory is empty', async () => {
    const { network, cluster } = await open({ [STREAM]: NO_STREAM, [CREATE]: { ...stream(), status: 201 } })
    expect(await Promise.all([cluster.ensureStream('dev/app'), cluster.ensureStream('dev/app')])).toEqual([
      'created',
      'created',
    ])
    expect(await cluster.registryFor('dev/app')).toEqual({ host: ROUTE, plainHttp: false })
    expect((await cluster.evidence('dev/app')).named).toEqual(new Set())
    expect(network.lines()).toHaveLength(2)
    expect(JSON.parse(network.seen[1]?.body ?? '')).toEqual({
      kind: 'ImageStream',
      apiVersion: 'image.openshift.io/v1',
      metadata: { name: 'app' },
    })
  })

  test('that somebody else creates at the same moment exists, and is read again', async () => {
    const { cluster } = await open({
      [STREAM]: [NO_STREAM, stream()],
      [CREATE]: status(409, 'AlreadyExists', 'already exists'),
    })
    expect(await cluster.ensureStream('dev/app')).toBe('exists')
    expect(await cluster.digestOf('dev/app', '1.2')).toBe(DIGEST)
  })

  test.each<[string, Script, 'exists' | 'created' | 'unknown']>([
    ['the inventory shows that it exists', { [LAYERS]: { status: 200, body: { blobs: {}, images: {} } } }, 'exists'],
    [
      'the inventory is missing and creation is allowed',
      { [LAYERS]: NO_STREAM, [CREATE]: { ...stream(), status: 201 } },
      'created',
    ],
    ['the inventory is forbidden as well', { [LAYERS]: FORBIDDEN }, 'unknown'],
  ])('that may not be read: %s', async (_, script, outcome) => {
    const { cluster } = await open({ [STREAM]: FORBIDDEN, ...script })
    expect(await cluster.ensureStream('dev/app')).toBe(outcome)
  })

  test.each<[string, Script, Code, string]>([
    [
      'no right to create',
      { [STREAM]: NO_STREAM, [CREATE]: NO_CREATE, [PROJECT]: PROJECT_200 },
      'STREAM_MISSING',
      'oc create imagestream app -n dev',
    ],
    [
      'no right to create, for pushers',
      { [STREAM]: FORBIDDEN, [LAYERS]: NO_STREAM, [CREATE]: NO_CREATE, [PROJECT]: PROJECT_403 },
      'STREAM_MISSING',
      'oc policy add-role-to-user system:image-builder bob -n dev',
    ],
    ['no project', { [STREAM]: NO_STREAM, [CREATE]: NO_PROJECT }, 'PROJECT_MISSING', 'oc new-project dev'],
    [
      'no right, because no project',
      { [STREAM]: NO_STREAM, [CREATE]: NO_CREATE, [PROJECT]: PROJECT_404 },
      'PROJECT_MISSING',
      'oc new-project dev',
    ],
    [
      'quota used up',
      {
        [STREAM]: NO_STREAM,
        [CREATE]: status(
          403,
          'Forbidden',
          'imagestreams "app" is forbidden: exceeded quota: streams, requested: openshift.io/imagestreams=1, used: openshift.io/imagestreams=2, limited: openshift.io/imagestreams=2',
        ),
      },
      'QUOTA',
      'oc describe quota -n dev',
    ],
    ...[
      'imagestreams.image.openshift.io "app" is forbidden: status unknown for quota: streams, resources: openshift.io/imagestreams',
      'imagestreams.image.openshift.io "app" is forbidden: requested usage of openshift.io/images exceeds the maximum limit',
    ].map((words): [string, Script, Code, string] => [
      words.slice(50),
      { [STREAM]: NO_STREAM, [CREATE]: status(403, 'Forbidden', words) },
      'QUOTA',
      'oc describe quota -n dev',
    ]),
    [
      'a project that is being deleted',
      {
        [STREAM]: NO_STREAM,
        [CREATE]: status(
          403,
          'Forbidden',
          'imagestreams.image.openshift.io "app" is forbidden: unable to create new content in namespace dev because it is being terminated',
        ),
      },
      'PROJECT_MISSING',
      'dev is being deleted',
    ],
    ...(
      [
        [403, 'admission webhook "v.example" denied the request: [owner] image streams need the label owner'],
        [
          400,
          'admission webhook "validate.kyverno.svc-fail" denied the request: \n\nresource ImageStream/dev/app was blocked',
        ],
        [409, 'admission webhook "v.example" denied the request without explanation'],
        [
          422,
          `imagestreams.image.openshift.io "app" is forbidden: ValidatingAdmissionPolicy 'owners' with binding 'all' denied request: no owner`,
        ],
      ] as const
    ).map(([code, words]): [string, Script, Code, string] => [
      `${code}: ${words}`,
      { [STREAM]: NO_STREAM, [CREATE]: status(code, 'Forbidden', words) },
      'DENIED',
      'policy of the cluster refuses it',
    ]),
    [
      'another admission plugin',
      {
        [STREAM]: NO_STREAM,
        [CREATE]: status(403, 'Forbidden', 'imagestreams "app" is forbidden: this registry is not allowed by policy'),
      },
      'DENIED',
      'not for a missing role',
    ],
    [
      'a token with narrow scopes',
      {
        [STREAM]: NO_STREAM,
        [CREATE]: status(
          403,
          'Forbidden',
          'imagestreams is forbidden: User "bob" cannot create resource "imagestreams": scopes [user:info] prevent this action',
        ),
      },
      'DENIED',
      'user:full',
    ],
    [
      'a webhook that does not answer',
      {
        [STREAM]: NO_STREAM,
        [CREATE]: status(500, 'InternalError', 'Internal error occurred: failed calling webhook "v.example": timeout'),
      },
      'UNAVAILABLE',
      'A webhook of the cluster',
    ],
    [
      'no image API: not OpenShift',
      { [STREAM]: { status: 404, body: '404 page not found' }, [CREATE]: { status: 404, body: '404 page not found' } },
      'NOT_A_CLUSTER',
      'API server',
    ],
    ['server error', { [STREAM]: NO_STREAM, [CREATE]: status(500, 'InternalError', 'x') }, 'UNAVAILABLE', 'later'],
  ])('fails before any blob is sent: %s', async (_, script, code, hint) => {
    const { network, cluster } = await open(script)
    const error = await failureOf(cluster.ensureStream('dev/app'))
    expectError(error, code, 'destination')
    expect(error.hint).toContain(hint)
    if (code !== 'STREAM_MISSING') expect(error.hint).not.toContain('add-role-to-user')
    expect(network.lines().filter((line) => line.startsWith('POST') && !line.endsWith('/dev/imagestreams'))).toEqual([])
  })
})
