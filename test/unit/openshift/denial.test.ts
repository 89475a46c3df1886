import { describe, expect, test } from '@jest/globals'
import { type Code, PromoteError } from '../../../src/core/errors.ts'
import type { RefusedAccess } from '../../../src/openshift/denial.ts'
import { API, expectError, review, type Script, type Scripted, status, TOKEN } from '../../support/openshift.ts'
import {
  ACCESS,
  EMPTY_LIST,
  FORBIDDEN,
  LAYERS,
  LIMITS,
  NO_STREAM,
  open,
  PROJECT,
  PROJECT_200,
  PROJECT_403,
  PROJECT_404,
  QUOTAS,
  REVIEWS,
  STREAM,
  stream,
} from '../../support/scripted-cluster.ts'

describe('the explanation of a refusal', () => {
  const refusal = (code: 401 | 403): PromoteError =>
    new PromoteError(code === 401 ? 'TOKEN_REJECTED' : 'DENIED', `PUT https://r/v2/dev/app: ${code}.`, {
      side: 'destination',
      status: code,
    })
  const quota = {
    status: 200,
    body: {
      items: [
        {
          metadata: { name: 'streams' },
          status: { hard: { 'openshift.io/imagestreams': '2' }, used: { 'openshift.io/imagestreams': '2' } },
        },
      ],
    },
  }
  const spare = {
    status: 200,
    body: {
      items: [
        {
          metadata: { name: 'cpu' },
          status: {
            hard: { cpu: '2', 'openshift.io/imagestreams': '5' },
            used: { cpu: '2', 'openshift.io/imagestreams': '2' },
          },
        },
        { metadata: { name: 'new' } },
      ],
    },
  }
  const limit = {
    status: 200,
    body: {
      items: [
        {
          metadata: { name: 'sizes' },
          spec: {
            limits: [
              { type: 'Pod', max: { cpu: '1' } },
              { type: 'openshift.io/Image', max: { storage: '1Gi' } },
            ],
          },
        },
      ],
    },
  }
  const may = (allowed: boolean): Scripted => ({ status: 201, body: { status: { allowed } } })
  const none = { [QUOTAS]: EMPTY_LIST, [LIMITS]: EMPTY_LIST }
  const seen = { [PROJECT]: PROJECT_200 }

  type Row = [string, 401 | 403, RefusedAccess, Script, Code, string]
  const pull: RefusedAccess = { repository: 'dev/app', access: 'pull' }
  const push: RefusedAccess = { repository: 'dev/app', access: 'push' }
  const tag: RefusedAccess = { ...push, tag: '1.2' }
  const rows: Row[] = [
    [
      'no right to pull',
      401,
      pull,
      { ...seen, [STREAM]: FORBIDDEN, [LAYERS]: FORBIDDEN },
      'DENIED',
      'oc policy add-role-to-user system:image-puller bob -n dev',
    ],
    [
      'no right to push',
      401,
      push,
      { ...seen, [STREAM]: stream(), [LAYERS]: { status: 200, body: {} } },
      'DENIED',
      'oc policy add-role-to-user system:image-pusher bob -n dev',
    ],
    [
      'a puller who pushes',
      401,
      push,
      { [PROJECT]: PROJECT_403, [STREAM]: FORBIDDEN, [LAYERS]: { status: 200, body: {} } },
      'DENIED',
      'system:image-pusher bob',
    ],
    [
      'no right to push where no stream is',
      401,
      push,
      { ...seen, [STREAM]: NO_STREAM, [LAYERS]: NO_STREAM },
      'DENIED',
      'system:image-builder bob',
    ],
    ['a project that does not exist', 401, push, { [PROJECT]: PROJECT_404 }, 'PROJECT_MISSING', 'oc new-project dev'],
    ...([401, 403] as const).map(
      (code): Row => [
        `a project that is being deleted, ${code}`,
        code,
        tag,
        { [PROJECT]: { status: 200, body: { metadata: { name: 'dev' }, status: { phase: 'Terminating' } } } },
        'PROJECT_MISSING',
        'dev is being deleted',
      ],
    ),
    [
      'a project that shows nothing',
      401,
      push,
      { [PROJECT]: PROJECT_403, [STREAM]: FORBIDDEN, [LAYERS]: FORBIDDEN },
      'PROJECT_MISSING',
      'system:image-pusher bob -n dev',
    ],
    [
      'a token that the registry refuses and the API does not',
      401,
      { ...pull, tokenAccepted: false },
      {},
      'TOKEN_REJECTED',
      'same cluster',
    ],
    [
      'a tag without a stream and without the right to create one',
      403,
      tag,
      { ...seen, [STREAM]: NO_STREAM, [ACCESS]: may(false) },
      'STREAM_MISSING',
      'oc create imagestream app -n dev',
    ],
    [
      'the same for pushers',
      403,
      tag,
      { [PROJECT]: PROJECT_403, [STREAM]: FORBIDDEN, [LAYERS]: NO_STREAM, [ACCESS]: may(false) },
      'STREAM_MISSING',
      'system:image-builder bob',
    ],
    [
      'a quota',
      403,
      tag,
      { ...seen, [STREAM]: NO_STREAM, [ACCESS]: may(true), [QUOTAS]: quota, [LIMITS]: EMPTY_LIST },
      'QUOTA',
      'oc describe quota,limits -n dev',
    ],
    [
      'a limit range',
      403,
      tag,
      { ...seen, [STREAM]: stream(), [QUOTAS]: spare, [LIMITS]: limit },
      'QUOTA',
      'oc describe quota,limits -n dev',
    ],
    ['a namespace that is gone', 403, tag, { [PROJECT]: PROJECT_404 }, 'PROJECT_MISSING', 'oc new-project dev'],
    ['nothing that the API knows', 403, tag, { ...seen, ...none, [STREAM]: stream() }, 'DENIED', 'One of'],
    [
      'limits that may not be read',
      403,
      tag,
      { ...seen, [QUOTAS]: FORBIDDEN, [LIMITS]: FORBIDDEN, [STREAM]: stream() },
      'DENIED',
      'One of',
    ],
  ]
  test.each(rows)('%s', async (_, code, attempt, script, expected, hint) => {
    const { cluster } = await open(script)
    const explained = await cluster.explain(refusal(code), attempt)
    expectError(explained, expected, 'destination')
    expect(explained.hint).toContain(hint)
    expect(explained.transient).toBe(false)
  })

  test('a token that died says what the token tells', async () => {
    const { cluster, network } = await open({})
    network.script[REVIEWS] = status(401, 'Unauthorized', 'Unauthorized')
    const explained = await cluster.explain(refusal(401), pull)
    expectError(explained, 'TOKEN_REJECTED', 'destination')
    expect(explained.message).toContain('expired, was revoked')
    expect(explained.message).not.toContain(TOKEN)
  })

  test('speaks of the service account where its token opens the registry', async () => {
    const issued = { status: 201, body: { status: { token: 'a.b.c', expirationTimestamp: '2026-01-01T01:00:00Z' } } }
    const { cluster, network } = await open(
      {
        [`POST ${API}/api/v1/namespaces/ci/serviceaccounts/mover/token`]: issued,
        ...seen,
        [STREAM]: stream(),
        [LAYERS]: FORBIDDEN,
      },
      { serviceAccount: { namespace: 'ci', name: 'mover' } },
    )
    const explained = await cluster.explain(refusal(401), pull)
    expectError(explained, 'DENIED', 'destination')
    expect(explained.hint).toContain('system:image-puller system:serviceaccount:ci:mover -n dev')
    expect(network.seen.find(({ url }) => url.pathname.endsWith('/layers'))?.headers.authorization).toBe('Bearer a.b.c')
  })

  test('quotes a user name that a shell would read as more', async () => {
    const script = { [REVIEWS]: review("x'; rm -rf ~"), ...seen, [STREAM]: FORBIDDEN, [LAYERS]: FORBIDDEN }
    const { cluster } = await open(script)
    expect((await cluster.explain(refusal(401), pull)).hint).toContain(`system:image-puller 'x'\\''; rm -rf ~' -n dev`)
  })

  test('leaves other errors as they are, and itself when it cannot ask', async () => {
    const { cluster, network } = await open({ [PROJECT]: status(500, 'InternalError', 'x') })
    const other = new PromoteError('NOT_FOUND', 'no tag', { side: 'destination', status: 404 })
    expect(await cluster.explain(other, pull)).toBe(other)
    expect(network.seen).toEqual([])
    const denied = refusal(401)
    expect(await cluster.explain(denied, pull)).toBe(denied)
  })
})
