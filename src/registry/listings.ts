/** Every list that a registry answers with: referrers of a manifest, tags of a repository. */

import { z } from 'zod'
import { asPromoteError, PromoteError } from '../core/errors.ts'
import { refuseSecretInAddress } from '../http/credential-scope.ts'
import { headerAll, json } from '../http/response.ts'
import { type Digest, referrersTag, shortDigest } from '../oci/digest.ts'
import { type Descriptor, descriptorSchema, MANIFEST_LIMIT, MEDIA_TYPE } from '../oci/manifest.ts'
import { isTag } from '../oci/reference.ts'
import { referrersIn } from '../oci/referrer.ts'
import { discard } from '../transport/request.ts'
import type { Endpoint } from './endpoint.ts'
import { nextPage } from './headers.ts'
import type { Manifests } from './manifests.ts'

/** With the usual 100 to 1000 entries a page, more referrers than any image has; bounds a registry that never ends. */
const MOST_PAGES = 100
/** Registries page by 50 (Quay) to 1,000; a repository with more tags is refused. */
const MOST_NAME_PAGES = 2000
const MOST_NAMES = 200_000
/** 65,000 tags of 128 characters. */
const NAMES_LIMIT = 8 * 1024 * 1024

/** Go writes `null` for an empty list. Each entry is parsed by itself: an unreadable one must not hide the others. */
const indexSchema = z.object({
  mediaType: z.literal(MEDIA_TYPE.ociIndex).nullish(),
  manifests: z.array(z.unknown()).max(40_000).nullable(),
})
const names = z.array(z.unknown()).max(MOST_NAMES).nullable()
const namesSchema = z.union([
  z.object({ tags: names }).transform(({ tags }) => tags),
  z.object({ repositories: names }).transform(({ repositories }) => repositories),
])

type List<T> = Readonly<{
  /** For messages: `listing the tags`. */
  what: string
  path: string
  accept?: string
  schema: z.ZodType<T>
  /** Bytes of one page. */
  limit: number
  most: number
}>

/**
 * What the referrers API says. `none`: there is no such API. `unclear`: the answer is not a list, which says nothing about
 * other subjects. `cut`: the list goes on where it cannot be read.
 */
type Listed = Readonly<{
  state: 'whole' | 'none' | 'unclear' | 'cut'
  found: readonly Descriptor[]
  error?: PromoteError
}>

export function createListings(endpoint: Endpoint, manifests: Manifests) {
  // distribution-spec "Listing Referrers": 404 means that there is no such API, not that there are no referrers.
  let missing = false
  /** Ends with the first answer: where there is no such API, one question is enough for all that are asked at once. */
  let learned: Promise<unknown> | undefined
  let isTold = false

  const fromApi = async (subject: Digest): Promise<Listed> => {
    if (learned !== undefined) await learned
    if (missing) return { state: 'none', found: [] }
    const asked = readReferrers(endpoint, subject)
    learned ??= asked.catch(() => undefined)
    const listed = await asked
    missing = listed.state === 'none'
    return listed
  }
  return {
    async referrers(subject: Digest): Promise<readonly Descriptor[]> {
      const { state, found, error } = await fromApi(subject)
      if (state === 'whole') return found
      const index = await manifests.look(referrersTag(subject))
      const tagged = index && referrersIn(index, subject)
      if (tagged !== undefined) return [...new Map([...found, ...tagged].map((one) => [one.digest, one])).values()]
      if (state === 'cut') throw error
      if (state === 'unclear' && !isTold) {
        isTold = true
        endpoint.context.log.warn(`${error?.message} Only what is attached by tags is known.`)
      }
      return []
    },
    listTags: async () => (await listNames(endpoint, 'tags/list', 'listing the tags')).filter(isTag),
    /** Whether the registry lists `digest` among the referrers of `subject` by itself. */
    async lists(subject: Digest, digest: Digest): Promise<boolean> {
      missing = false
      const listed = await fromApi(subject).catch(() => undefined)
      return listed?.found.some((each) => each.digest === digest) ?? false
    },
  }
}

/**
 * The repositories of a registry. `endpoint` is that of its catalog.
 * @throws PromoteError also where a registry has no such list, or none for this account.
 */
export async function listRepositories(endpoint: Endpoint): Promise<readonly string[]> {
  try {
    return await listNames(endpoint, '', 'listing the repositories')
  } catch (thrown) {
    const error = asPromoteError(thrown, endpoint.side)
    const { code, status = 0 } = error
    if (![400, 401, 403, 404, 405, 501].includes(status) || /_REJECTED$/.test(code)) throw error
    const hint = 'Many registries list their repositories for administrators only, or not: name the images one by one.'
    throw error.with(code === 'CREDENTIAL_MISSING' ? { hint: `${error.hint} ${hint}` } : { code: 'UNSUPPORTED', hint })
  }
}

/** Without `n` (distribution-spec "Listing Tags"), because OpenShift cuts pages out of an unsorted list and so loses tags. */
async function listNames(endpoint: Endpoint, path: string, what: string): Promise<readonly string[]> {
  const found = new Set<string>()
  const list = { path, what, schema: namesSchema, limit: NAMES_LIMIT, most: MOST_NAME_PAGES }
  for await (const page of pages(endpoint, list)) {
    for (const name of page ?? []) if (typeof name === 'string') found.add(name)
    if (found.size > MOST_NAMES) throw unfinished(endpoint, what, 'it does not end')
  }
  return [...found]
}

/**
 * A list, page by page. It ends only where the registry names no further page.
 * @throws PromoteError when an answer is refused, is not such a list, or names a next page that cannot be read.
 */
async function* pages<T>(endpoint: Endpoint, { what, accept, ...list }: List<T>): AsyncGenerator<T> {
  const seen = new Set<string>()
  const headers = accept === undefined ? {} : { accept }
  for (let url = endpoint.url(list.path); ; ) {
    seen.add(url.href)
    const res = await endpoint.call('pull', { method: 'GET', url, headers })
    if (res.status !== 200) throw await endpoint.toError(res, what, 'pull')
    const link = headerAll(res, 'link').join(', ')
    const named = { what: `${endpoint.name}: ${what}: the next page is at`, side: endpoint.side }
    refuseSecretInAddress(link, url, { ...named, secrets: endpoint.context.secrets })
    const next = nextPage(link, url)
    yield await json(res, list.schema, list.limit).catch((thrown: unknown) => {
      const error = asPromoteError(thrown, endpoint.side)
      throw error.with({ message: `${endpoint.name}: ${what}: ${error.message}` })
    })
    if (next === undefined) return
    if (next === 'unreadable') throw unfinished(endpoint, what, 'the address of the next page cannot be read')
    if (seen.has(next.href)) throw unfinished(endpoint, what, 'the next page is one that was read already')
    if (seen.size >= list.most) throw unfinished(endpoint, what, 'it does not end')
    url = next
  }
}

function unfinished({ name, side }: Endpoint, what: string, why: string): PromoteError {
  return new PromoteError('PROTOCOL', `${name}: ${what}: the list is not whole, ${why}.`, {
    side,
    hint: 'Check the Link header of the registry, and what a proxy in front of it does to it.',
  })
}

async function readReferrers(endpoint: Endpoint, subject: Digest): Promise<Listed> {
  const found = new Map<Digest, Descriptor>()
  const path = `referrers/${subject}`
  const what = `listing referrers of ${shortDigest(subject)}`
  const list = { path, what, accept: MEDIA_TYPE.ociIndex, limit: MANIFEST_LIMIT, most: MOST_PAGES }
  let isFirst = true
  try {
    for await (const { manifests } of pages(endpoint, { ...list, schema: indexSchema })) {
      isFirst = false
      for (const entry of manifests ?? []) {
        const descriptor = descriptorSchema.safeParse(entry).data
        if (descriptor !== undefined) found.set(descriptor.digest, descriptor)
      }
    }
    return { state: 'whole', found: [...found.values()] }
  } catch (thrown) {
    const error = asPromoteError(thrown, endpoint.side)
    if (isFirst && [404, 405, 501].includes(error.status ?? 0)) return { state: 'none', found: [] }
    const isFailure = error.code === 'CANCELLED' || isUndecided(error)
    if (isFailure && !(isFirst && (await isRedirected(endpoint, path)))) throw error
    return { state: isFirst ? 'unclear' : 'cut', found: [...found.values()], error }
  }
}

/** The registry has failed, or was not reached: that says nothing about the API. 400, 401, 403, 406 and web pages do. */
function isUndecided({ status, transient, code }: PromoteError): boolean {
  return transient || (status === undefined && code !== 'PROTOCOL') || (status ?? 0) >= 500
}

/** A registry whose referrers API redirects to a host that does not answer has no such API. */
async function isRedirected(endpoint: Endpoint, path: string): Promise<boolean> {
  const request = { method: 'GET', url: endpoint.url(path), follow: false, retry: false } as const
  const res = await endpoint.call('pull', request).catch(() => undefined)
  if (res === undefined) return false
  await discard(res)
  return res.status >= 300 && res.status < 400
}
