import { discard, header } from '../http/answer.ts'
import { shortDigest } from '../oci/digest.ts'
import type { Descriptor } from '../oci/manifest.ts'
import { isStored } from './blob.ts'
import type { Endpoint } from './endpoint.ts'
import type { Begun } from './store.ts'
import { type Habits, openUpload, startSession } from './upload.ts'

/** Asks for the blob and begins its upload in one request: distribution-spec "Mounting a blob from another repository". */
export async function beginUpload(
  endpoint: Endpoint,
  habits: Habits,
  blob: Descriptor,
  mountFrom: string | undefined,
): Promise<Begun> {
  if (mountFrom !== undefined && mountFrom !== endpoint.repository) {
    const begun = await tryMount(endpoint, habits, blob, mountFrom)
    if (begun !== undefined) return begun
  }
  if (habits.probes) {
    const begun = await tryMount(endpoint, habits, blob, endpoint.repository)
    if (begun !== undefined) return begun
  }
  if (await isStored(endpoint, blob, false)) return { state: 'present' }
  const res = await startSession(endpoint, blob)
  habits.probes = false
  return { state: 'open', upload: openUpload(endpoint, habits, blob, res) }
}

/** @returns undefined when the registry does not understand or does not want this, which decides nothing. */
async function tryMount(
  endpoint: Endpoint,
  habits: Habits,
  blob: Descriptor,
  from: string,
): Promise<Begun | undefined> {
  const own = from === endpoint.repository
  const url = endpoint.url('blobs/uploads/')
  url.search = `?mount=${blob.digest}&from=${encodeURIComponent(from).replaceAll('%2F', '/')}`
  const scopes = own ? [] : [`repository:${from}:pull`]
  const res = await endpoint.call('push', { method: 'POST', url, scopes, body: new Uint8Array() })
  if (res.status === 202) {
    await discard(res)
    return { state: 'open', upload: openUpload(endpoint, habits, blob, res) }
  }
  if (res.status === 201) {
    await discard(res)
    const stored = header(res, 'docker-content-digest') ?? blob.digest
    if (stored === blob.digest) return { state: own ? 'present' : 'mounted' }
    return undefined
  }
  const unwanted = [400, 403, 404, 405, ...(own ? [] : [401])].includes(res.status)
  if (!unwanted) throw await endpoint.verdict(res, `beginning the upload of blob ${shortDigest(blob.digest)}`, 'push')
  await discard(res)
  return undefined
}
