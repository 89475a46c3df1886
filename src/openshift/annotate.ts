import { createHash } from 'node:crypto'
import type { Digest } from '../oci/digest.ts'
import { failure, type Kubernetes } from './api.ts'
import { splitRepository, streamPath } from './stream-answers.ts'

/** The note about the last promotion to a tag. */
export type Note = Readonly<{
  tag: string
  source: string
  digest: Digest
  /** Page of the pipeline's run, where there is one. */
  run: string | undefined
  /** ISO 8601, UTC. */
  time: string
}>

/** A prefix without a dot belongs to no domain and to no part of OpenShift. */
const PREFIX = 'image-promote'
/** apimachinery `IsQualifiedName`: a tag may be longer, and may begin or end with other characters. */
const NAME = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/

/** `image-promote/<tag>`, or a hash if the tag cannot be part of a key. The value always has the tag. */
export function annotationKey(tag: string): string {
  const name = NAME.test(tag) ? tag : `tag.${createHash('sha256').update(tag).digest('hex').slice(0, 32)}`
  return `${PREFIX}/${name}`
}

/** Writes the notes into the stream's metadata, in one merge patch (RFC 7396): other annotations and the images stay. */
export async function annotate(kube: Kubernetes, repository: string, notes: readonly Note[]): Promise<void> {
  const annotations = Object.fromEntries(notes.map((note) => [annotationKey(note.tag), JSON.stringify(note)]))
  const reply = await kube.request('PATCH', streamPath(splitRepository(repository, kube.side)), {
    body: { metadata: { annotations } },
    type: 'application/merge-patch+json',
  })
  if (reply.status !== 200) throw failure(reply, `Annotating the image stream ${repository}`, kube)
}

/** Page of the run in GitHub Actions, GitLab or Jenkins. */
export function runUrl(env: Readonly<Record<string, string | undefined>>): string | undefined {
  const { GITHUB_SERVER_URL: server, GITHUB_REPOSITORY: repository, GITHUB_RUN_ID: id } = env
  const github = server && repository && id ? `${server}/${repository}/actions/runs/${id}` : undefined
  const candidates = [github, env.CI_JOB_URL, env.BUILD_URL]
  return candidates.find((url) => url !== undefined && url.length <= 500 && /^https?:\/\/[^\s@]+$/.test(url))
}
