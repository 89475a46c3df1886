import { z } from 'zod'
import { PromoteError } from '../errors.ts'
import { discard, headerAll, json } from '../http/answer.ts'
import { parseLink } from '../http/link.ts'
import type { Req, Res } from '../http/send.ts'
import { type Digest, referrersTag, shortDigest } from '../oci/digest.ts'
import { type Descriptor, descriptorSchema, MANIFEST_LIMIT, MEDIA_TYPE } from '../oci/manifest.ts'
import { isTag } from '../oci/reference.ts'
import type { Endpoint } from './endpoint.ts'
import type { Manifests } from './manifests.ts'

export interface Listings {
  referrers(subject: Digest): Promise<readonly Descriptor[]>
  tags(): Promise<ReadonlySet<string> | undefined>
  listTags(): Promise<readonly string[]>
  /** Whether the registry lists `digest` among the referrers of `subject` by itself. */
  lists(subject: Digest, digest: Digest): Promise<boolean>
}

/** With the usual 100 to 1000 entries a page, more referrers than any image has; bounds a registry that never ends. */
const MOST_PAGES = 100
/** 65,000 tags of 128 characters. */
const TAGS_LIMIT = 8 * 1024 * 1024

/** Each entry by itself: one that nobody can read must not hide the others. */
const indexSchema = z.object({ manifests: z.array(z.unknown()).max(40_000).nullish() })
const tagsSchema = z.object({ tags: z.array(z.unknown()).max(200_000).nullish() })

export function createListings(endpoint: Endpoint, manifests: Manifests): Listings {
  // distribution-spec "Listing Referrers": 404 means that there is no such API, not that there are no referrers.
  let missing = false
  /** Ends with the first answer: whoever asks before it would ask in vain where there is no such API. */
  let learned: Promise<unknown> | undefined
  let tags: Promise<ReadonlySet<string> | undefined> | undefined

  const fromApi = async (subject: Digest): Promise<readonly Descriptor[] | undefined> => {
    if (learned !== undefined) await learned
    if (missing) return undefined
    const asked = readPages(endpoint, subject)
    learned ??= asked.catch(() => undefined)
    const found = await asked
    missing = found === 'none'
    return Array.isArray(found) ? found : undefined
  }
  return {
    async referrers(subject) {
      const listed = await fromApi(subject)
      if (listed !== undefined) return listed
      // Where the tags are known (those of a source, which does not change meanwhile), most images need no question.
      const known = await tags
      return known?.has(referrersTag(subject)) === false ? [] : fromTag(manifests, subject)
    },
    tags: () => (tags ??= firstPage(endpoint)),
    async listTags() {
      const all = await allPages(endpoint)
      tags ??= Promise.resolve(new Set(all))
      return all
    },
    async lists(subject, digest) {
      missing = false
      return (await fromApi(subject).catch(() => undefined))?.some((each) => each.digest === digest) ?? false
    },
  }
}

/** @returns `none`: no such API. `unclear`: refused for this subject, which says nothing about others. */
async function readPages(endpoint: Endpoint, subject: Digest): Promise<Descriptor[] | 'none' | 'unclear'> {
  const found = new Map<Digest, Descriptor>()
  const seen = new Set<string>()
  let url: URL | undefined = endpoint.url(`referrers/${subject}`)
  while (url !== undefined && !seen.has(url.href)) {
    seen.add(url.href)
    const request: Req = { method: 'GET', url, headers: { accept: MEDIA_TYPE.ociIndex } }
    const res = await endpoint.call('pull', request)
    if (res.status !== 200 || !isJson(res)) {
      const state = seen.size > 1 ? undefined : await unsupported(res)
      if (state !== undefined) return state
      throw await endpoint.verdict(res, `listing referrers of ${shortDigest(subject)}`, 'pull')
    }
    url = parseLink(headerAll(res, 'link').join(', '), url)
    for (const descriptor of readEntries(await json(res, indexSchema, MANIFEST_LIMIT)))
      found.set(descriptor.digest, descriptor)
    if (url !== undefined && seen.size >= MOST_PAGES)
      throw new PromoteError('PROTOCOL', `${endpoint.name}: the list of referrers does not end.`, {
        side: endpoint.side,
      })
  }
  return [...found.values()]
}

/** Registries without the API answer 404, 405, 400, 403 or a web page; only 5xx and 429 say nothing. */
async function unsupported(res: Res): Promise<'none' | 'unclear' | undefined> {
  const { status } = res
  if (status === 429 || status === 408 || (status >= 500 && status !== 501)) return undefined
  await discard(res)
  return status === 404 || status === 405 || status === 501 ? 'none' : 'unclear'
}

async function fromTag(manifests: Manifests, subject: Digest): Promise<readonly Descriptor[]> {
  const index = await manifests.look(referrersTag(subject))
  return (index?.links ?? []).filter((link) => link.role === 'child').map((link) => link.descriptor)
}

/** One request; a listing with more pages may be endless and unsorted (OpenShift), so then the tags are asked one by one. */
async function firstPage(endpoint: Endpoint): Promise<ReadonlySet<string> | undefined> {
  try {
    const res = await endpoint.call('pull', { method: 'GET', url: endpoint.url('tags/list') })
    if (res.status !== 200 || headerAll(res, 'link').length > 0) {
      await discard(res)
      return undefined
    }
    const { tags } = await json(res, tagsSchema, TAGS_LIMIT)
    return new Set((tags ?? []).filter((tag) => typeof tag === 'string'))
  } catch (thrown) {
    if (thrown instanceof PromoteError && thrown.code !== 'CANCELLED') return undefined
    throw thrown
  }
}

/** Registries page by 50 (Quay) to 1,000; more tags than this are no repository that anybody selects from. */
const MOST_TAG_PAGES = 2000
const MOST_TAGS = 200_000

/** distribution-spec "Listing Tags": without `n`, because OpenShift cuts pages out of an unsorted list and so loses tags. */
async function allPages(endpoint: Endpoint): Promise<readonly string[]> {
  const found = new Set<string>()
  const seen = new Set<string>()
  for (let url: URL | undefined = endpoint.url('tags/list'); url !== undefined && !seen.has(url.href); ) {
    seen.add(url.href)
    const res = await endpoint.call('pull', { method: 'GET', url })
    if (res.status !== 200 || !isJson(res)) throw await endpoint.verdict(res, 'listing the tags', 'pull')
    url = parseLink(headerAll(res, 'link').join(', '), url)
    const { tags } = await json(res, tagsSchema, TAGS_LIMIT)
    for (const tag of tags ?? []) if (typeof tag === 'string' && isTag(tag)) found.add(tag)
    if (seen.size > MOST_TAG_PAGES || found.size > MOST_TAGS)
      throw new PromoteError('PROTOCOL', `${endpoint.name}: the list of tags does not end.`, { side: endpoint.side })
  }
  return [...found]
}

function readEntries({ manifests }: z.infer<typeof indexSchema>): Descriptor[] {
  return (manifests ?? []).flatMap((entry) => {
    const parsed = descriptorSchema.safeParse(entry)
    return parsed.success ? [parsed.data] : []
  })
}

function isJson(res: Res): boolean {
  return !/html/i.test(headerAll(res, 'content-type')[0] ?? '')
}
