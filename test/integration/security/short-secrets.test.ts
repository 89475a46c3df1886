import { expect, test } from '@jest/globals'
import { problemsOf } from '../../unit/inputs/table.ts'

/** A secret that is too short to be searched for could be printed in any text. */

const IMAGES = { IMAGE_PROMOTE_IMAGES: 'a/b:1=c/d:1' }
const SIDES = { IMAGE_PROMOTE_SOURCE_REGISTRY: 'r.example', IMAGE_PROMOTE_DESTINATION_REGISTRY: 's.example' }
const list = (more: object) => JSON.stringify([{ name: 'west', registry: 'w.example', username: 'u', ...more }])

test.each(['a', 'ab', 'abc', 'ä€'])('%s is refused by every way, and not repeated', (secret) => {
  const base = { ...IMAGES, ...SIDES, IMAGE_PROMOTE_SOURCE_USERNAME: 'u' }
  const { IMAGE_PROMOTE_DESTINATION_REGISTRY: _, ...many } = base
  const password = { IMAGE_PROMOTE_SOURCE_PASSWORD: 'long-enough' }
  const ways: Parameters<typeof problemsOf>[0][] = [
    { env: { ...base, IMAGE_PROMOTE_SOURCE_PASSWORD: secret } },
    { env: { ...base, ...password, IMAGE_PROMOTE_DESTINATION_TOKEN: secret } },
    { env: { ...base, IMAGE_PROMOTE_SOURCE_PASSWORD_FILE: '/p' }, files: { '/p': `${secret}\n` } },
    { env: base, argv: ['--source-password-file', '/p'], files: { '/p': secret } },
    {
      kind: 'github',
      env: {
        INPUT_IMAGES: 'a/b:1=c/d:1',
        'INPUT_SOURCE-REGISTRY': 'r.example',
        'INPUT_DESTINATION-REGISTRY': 's.example',
        'INPUT_DESTINATION-TOKEN': secret,
      },
    },
    { env: { ...many, ...password, IMAGE_PROMOTE_DESTINATIONS: list({ 'password-env': 'P' }), P: secret } },
    {
      env: { ...many, ...password, IMAGE_PROMOTE_DESTINATIONS: list({ 'password-file': '/p' }) },
      files: { '/p': secret },
    },
  ]
  for (const way of ways) {
    const problems = problemsOf(way)
    expect(problems).toContainEqual(expect.stringContaining('cannot be hidden'))
    // Without the names of options and the words of the sentence, which may contain such a short text.
    if (secret.length > 1) expect(problems.join().replace(/[a-z-]{4,}/gi, '')).not.toContain(secret)
  }
})

test('four characters are taken', () => {
  const env = { ...IMAGES, ...SIDES, IMAGE_PROMOTE_SOURCE_USERNAME: 'u', IMAGE_PROMOTE_SOURCE_PASSWORD: 'abcd' }
  expect(problemsOf({ env })).toEqual([])
})
