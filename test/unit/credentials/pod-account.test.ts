import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { isPodApi, podCa, podCluster } from '../../../src/credentials/pod-account.ts'
import { bearer, openRoom, type Room, refusalOf, shown, textOf } from '../../support/credentials.ts'

let room: Room
const CA = '-----BEGIN CERTIFICATE-----\nYXBp\n-----END CERTIFICATE-----\n'
const SERVICE_CA = '-----BEGIN CERTIFICATE-----\nc2VydmljZQ==\n-----END CERTIFICATE-----\n'

beforeEach(() => {
  room = openRoom()
  room.env.KUBERNETES_SERVICE_HOST = '172.30.0.1'
  room.env.KUBERNETES_SERVICE_PORT = '443'
  room.file('sa/ca.crt', CA)
  room.file('sa/token', 'eyJ.first.x\n')
})
afterEach(() => room.close())

const pod = () => podCluster(room.context, { side: 'destination', folder: join(room.folder, 'sa') })

test('address, CA and account come from the pod', async () => {
  const { api, ca, login } = pod()
  expect([api.href, ca]).toEqual(['https://172.30.0.1/', CA])
  expect(shown(await login.current())).toEqual(bearer('eyJ.first.x'))
  expect(room.masked).toContain('eyJ.first.x')
})

test('the service CA follows when it is there', () => {
  room.file('sa/service-ca.crt', SERVICE_CA)
  expect(pod().ca).toBe(`${CA}${SERVICE_CA}`)
})

test.each([
  ['fd00:10:96::1', '6443', 'https://[fd00:10:96::1]:6443/'],
  ['[fd00::1]', '6443', 'https://[fd00::1]:6443/'],
  ['kubernetes.default.svc', undefined, 'https://kubernetes.default.svc/'],
])('host %s and port %s make %s', (host, port, href) => {
  room.env.KUBERNETES_SERVICE_HOST = host
  room.env.KUBERNETES_SERVICE_PORT = port
  expect(pod().api.href).toBe(href)
})

test.each([
  ['user@evil.example', '443'],
  ['evil.example/path', '443'],
  ['10.0.0.1', '443/@evil.example'],
  ['10.0.0.1', '99999'],
])('host %s with port %s is refused', async (host, port) => {
  room.env.KUBERNETES_SERVICE_HOST = host
  room.env.KUBERNETES_SERVICE_PORT = port
  const error = await refusalOf(pod)
  expect([error.code, error.side]).toEqual(['CREDENTIAL_MISSING', 'destination'])
})

test('outside of a pod it says so, and what to give instead', async () => {
  delete room.env.KUBERNETES_SERVICE_HOST
  const error = await refusalOf(pod)
  expect([error.code, error.side]).toEqual(['CREDENTIAL_MISSING', 'destination'])
  expect(error.message).toContain('KUBERNETES_SERVICE_HOST')
})

test.each(['ca.crt', 'token'])('without %s the account is missing', async (name) => {
  rmSync(join(room.folder, 'sa', name))
  const error = await refusalOf(pod)
  expect([error.code, error.side]).toEqual(['CREDENTIAL_MISSING', 'destination'])
  expect(error.message).toContain(name)
  expect(error.hint).toContain('automountServiceAccountToken')
})

test('a token file that holds no token is an IO error that does not quote it', async () => {
  room.file('sa/token', 'two words')
  const error = await refusalOf(pod)
  expect([error.code, error.side]).toEqual(['IO', 'destination'])
  expect(textOf(error)).not.toContain('two words')
})

test('a rotated token is read after a minute, or at once when the old one was refused', async () => {
  const { login } = pod()
  const first = await login.current()
  expect(await login.renew(first)).toBeUndefined()
  room.file('sa/token', 'eyJ.second.x')
  room.clock.now += 59_999
  expect(shown(await login.current())).toEqual(bearer('eyJ.first.x'))
  expect(shown(await login.renew(first))).toEqual(bearer('eyJ.second.x'))
  room.file('sa/token', 'eyJ.third.x')
  room.clock.now += 60_000
  expect(shown(await login.current())).toEqual(bearer('eyJ.third.x'))
})

test('a token file that is gone for a moment leaves the token at hand, with a warning', async () => {
  const { login } = pod()
  rmSync(join(room.folder, 'sa', 'token'))
  room.clock.now += 60_000
  expect(shown(await login.current())).toEqual(bearer('eyJ.first.x'))
  expect(room.warnings).toHaveLength(1)
  expect(room.warnings[0]).toContain(join(room.folder, 'sa', 'token'))
})

test.each([
  ['https://kubernetes.default.svc', true],
  ['https://kubernetes.default.svc:443', true],
  ['https://kubernetes.default.svc.cluster.local', true],
  ['https://kubernetes.default', true],
  ['https://172.30.0.1', true],
  ['https://172.30.0.1:6443', false],
  ['https://172.30.0.2', false],
  ['https://api.prod.example:6443', false],
  ['https://kubernetes.default.svc.other.example', false],
  ['https://not-kubernetes.default.svc', false],
])('%s is the API of the cluster of this pod: %s', (url, expected) => {
  expect(isPodApi(new URL(url), room.env)).toBe(expected)
  delete room.env.KUBERNETES_SERVICE_HOST
  expect(isPodApi(new URL(url), room.env)).toBe(false)
})

test('an address of IPv6 and another port are compared as URLs', () => {
  room.env.KUBERNETES_SERVICE_HOST = 'fd00:10:96::1'
  room.env.KUBERNETES_SERVICE_PORT = '6443'
  expect(isPodApi(new URL('https://[fd00:10:96:0::1]:6443'), room.env)).toBe(true)
})

test('the CAs of the pod are those that are there', () => {
  const folder = join(room.folder, 'sa')
  room.file('sa/service-ca.crt', SERVICE_CA)
  expect(podCa(folder)).toBe(`${CA}${SERVICE_CA}`)
  rmSync(join(folder, 'ca.crt'))
  expect(podCa(folder)).toBe(SERVICE_CA)
  expect(podCa(join(room.folder, 'absent'))).toBe('')
})
