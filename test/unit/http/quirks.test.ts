import { describe, expect, test } from '@jest/globals'
import { explainRefusal, saysExpired } from '../../../src/http/quirks.ts'

const ECR = '123456789012.dkr.ecr.eu-central-1.amazonaws.com'

describe('what a refusal says decides the advice', () => {
  const push = { access: 'push', host: 'registry.example', repository: 'prod/app' } as const
  const pull = { ...push, access: 'pull' } as const

  test.each([
    // Read-only mode.
    [405, 'UNSUPPORTED The operation is unsupported.', push, 'UNAVAILABLE', 'read-only mode'],
    [403, 'DENIED The system is in read only mode. Any modification is prohibited.', push, 'UNAVAILABLE', 'read-only'],
    [405, 'UNSUPPORTED pushes are disabled', push, 'UNAVAILABLE', 'takes no pushes'],
    [403, 'DENIED System is currently read-only. Pulls will succeed.', push, 'UNAVAILABLE', 'Run it again'],
    [405, 'METHOD NOT ALLOWED can not push artifact to a proxy project: hub', push, 'UNAVAILABLE', 'proxy cache'],
    // Quota.
    [403, 'DENIED Quota has been exceeded on namespace', push, 'QUOTA', 'no room left for prod/app'],
    [412, 'DENIED adding 3 GiB will exceed the configured upper limit of 10 GiB', push, 'QUOTA', 'quota'],
    [500, 'UNKNOWN write /registry/x: no space left on device', push, 'QUOTA', 'the disk is full'],
    [507, 'Insufficient Storage', push, 'QUOTA', 'administrator'],
    // Policies.
    [412, 'PROJECTPOLICYVIOLATION current image with 3 vulnerabilities cannot be pulled', pull, 'DENIED', 'policy'],
    [403, 'DENIED Download blocked by Xray policy', pull, 'DENIED', 'no credential changes that'],
    [412, 'PROJECTPOLICYVIOLATION The image is not signed in Notary.', pull, 'DENIED', 'signed'],
    // Media types.
    [415, 'MANIFEST_INVALID manifest media type not supported', push, 'UNSUPPORTED', 'referrers: false'],
    [400, 'MANIFEST_INVALID OCI artifacts are not supported', push, 'UNSUPPORTED', 'this kind of manifest'],
    [400, 'MANIFEST_INVALID unsupported manifest media type', push, 'UNSUPPORTED', 'OCI artifacts'],
    // No such repository.
    [404, 'NAME_UNKNOWN repository name not known to registry', push, 'NOT_FOUND', 'Create the repository'],
    [404, 'NOT_FOUND project prod not found', push, 'NOT_FOUND', 'a push does not make it'],
    [400, 'The repository "prod/app" does not exist', push, 'NOT_FOUND', 'Create'],
  ] as const)('%d %s', (status, said, where, code, advice) => {
    const found = explainRefusal({ status, said, ...where })
    expect(found).toMatchObject({ code, hint: expect.stringContaining(advice) })
  })

  test.each([
    [ECR, 'aws ecr create-repository --registry-id 123456789012 --region eu-central-1 --repository-name prod/app'],
    [ECR.replace('.ecr.', '.ecr-fips.'), 'aws ecr create-repository --registry-id 123456789012'],
    [`${ECR}.cn`, 'aws ecr create-repository --registry-id 123456789012'],
    ['public.ecr.aws', 'aws ecr-public create-repository --region us-east-1 --repository-name app'],
    [
      'europe-west1-docker.pkg.dev',
      'gcloud artifacts repositories create app --project prod --location europe-west1 --repository-format docker',
    ],
  ])('the command that creates the repository at %s', (host, command) => {
    const hint = explainRefusal({
      ...push,
      host,
      status: 404,
      said: 'NAME_UNKNOWN The repository does not exist',
    })?.hint
    expect(hint).toContain(command)
  })

  test.each([
    [404, 'MANIFEST_UNKNOWN manifest unknown', pull],
    [404, 'NAME_UNKNOWN repository name not known to registry', pull],
    [403, 'DENIED requested access to the resource is denied', push],
    [405, 'UNSUPPORTED The operation is unsupported.', pull],
    [400, 'MANIFEST_BLOB_UNKNOWN blob unknown to registry', push],
    [503, 'with an HTML page: "Down for maintenance"', push],
  ] as const)('nothing more is known of %d %s', (status, said, where) => {
    expect(explainRefusal({ status, said, ...where })).toBeUndefined()
  })
})

test.each([
  ['Your authorization token has expired. Reauthenticate and try again.', true],
  ['The authorization token is invalid.', true],
  ['DENIED expired credentials', true],
  ['session expired', true],
  ['token is no longer valid', true],
  ['please authenticate again', true],
  ['requested access to the resource is denied', false],
  ['MANIFEST_INVALID manifest invalid', false],
  ['the tag has expired', false],
  ['invalid character in name', false],
])('%s speaks of an expired credential: %s', (said, expected) => expect(saysExpired(said)).toBe(expected))
