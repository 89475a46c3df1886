import { describe, expect, it } from '@jest/globals'
import { Secrets } from '../../../src/core/secret.ts'
import { configOf, type Given, problemsOf } from './table.ts'

const given = (text: string, env: Given['env'] = {}, files: Given['files'] = {}): Given => ({
  argv: ['--source-registry', 'a.example.com', '--destination-registry', 'b.example.com', '--', 'dev/app:1=prod/app:1'],
  env: { IMAGE_PROMOTE_REGISTRY_AUTH: text, QUAY: 'quay-password', ...env },
  files,
})
const authsOf = (input: Given) => JSON.parse(configOf(input).registryAuth?.reveal() ?? '{}').auths

describe('registry-auth', () => {
  it.each<[string, string, Given['files']]>([
    ['YAML', 'quay.io:\n  username: robot\n  password-env: QUAY\n', {}],
    ['YAML on one line', 'quay.io: { username: robot, password-env: QUAY }', {}],
    ['JSON', '{"quay.io":{"username":"robot","password-env":"QUAY"}}', {}],
    ['a file', 'auth.yaml', { 'auth.yaml': 'quay.io: { username: robot, password-env: QUAY }' }],
    ['a file of the password', 'quay.io: { username: robot, password-file: pw }', { pw: 'quay-password\n' }],
  ])('is read as %s', (_, text, files) => {
    expect(authsOf(given(text, {}, files))).toEqual({ 'quay.io': { username: 'robot', password: 'quay-password' } })
  })

  it('has an entry for each registry, with a port or a namespace; its values stay text', () => {
    const text =
      'r.example:5000: { username: 007, password-env: QUAY }\nghcr.io/team-a: { username: a, password-file: pw }\n'
    expect(authsOf(given(text, {}, { pw: '0123' }))).toEqual({
      'r.example:5000': { username: '007', password: 'quay-password' },
      'ghcr.io/team-a': { username: 'a', password: '0123' },
    })
  })

  it('is absent where it is not given', () => {
    expect(configOf(given('')).registryAuth).toBeUndefined()
  })

  it('keeps its passwords secret', () => {
    const secrets = new Secrets()
    configOf(given('quay.io: { username: robot, password-env: QUAY }'), secrets)
    expect(secrets.redact('it is quay-password')).toBe('it is ***')
  })

  it.each<[string, string, RegExp]>([
    ['a list', '- quay.io: {}', /is no map/],
    ['an empty map', '{}', /is no map/],
    ['a text', 'quay.io', /cannot be read/],
    ['an entry that is a text', 'quay.io: robot', /quay\.io: username: needs a name/],
    ['no password', 'quay.io: { username: robot }', /quay\.io: needs password-env VARIABLE or password-file PATH/],
    ['no user', 'quay.io: { password-env: QUAY }', /quay\.io: username: needs a name/],
    ['a user with a colon', 'quay.io: { username: "a:b", password-env: QUAY }', /username: needs a name, without ":"/],
    ['two passwords', 'quay.io: { username: a, password-env: QUAY, password-file: pw }', /password-env: excludes/],
    ['an empty variable', 'quay.io: { username: a, password-env: NONE }', /password-env: the variable "NONE" is empty/],
    ['an absent file', 'quay.io: { username: a, password-file: gone }', /password-file: cannot be read/],
    ['something else than a registry', '"quay io": { username: a, password-env: QUAY }', /quay io: is no registry/],
    ['another key', 'quay.io: { username: a, passwort-env: QUAY }', /passwort-env: stands in no map/],
  ])('refuses %s', (_, text, problem) => {
    expect(problemsOf(given(text, {}, { pw: 'x' })).join('\n')).toMatch(problem)
  })

  it('does not quote a password that stands in the map', () => {
    const secrets = new Secrets()
    const problems = problemsOf(given('quay.io: { username: a, password: top-secret-word }'), secrets)
    expect(problems.join()).toMatch(/password: stands in no map: use username, password-env, password-file/)
    expect(problems.join()).not.toContain('top-secret-word')
    expect(secrets.redact('top-secret-word')).toBe('***')
  })
})
