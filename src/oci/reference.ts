import { PromoteError } from '../core/errors.ts'
import { quote } from '../core/text.ts'
import { type Digest, isDigest } from './digest.ts'

/** `host[:port]`; `http://host:port` in the input means plain HTTP. */
export type RegistryAddress = Readonly<{ host: string; plainHttp: boolean }>

/** `[host/]namespace/name[:tag][@digest]`. `host` is undefined when the side's own registry is meant. */
export type Reference = Readonly<{
  host?: string | undefined
  /** Set for an image in an OCI layout. Then `repository` may be empty, and the image's name is `layoutName`. */
  layout?: LayoutPlace | undefined
  repository: string
  tag?: string | undefined
  digest?: Digest | undefined
}>

/** An OCI layout (image-spec image-layout.md): a folder, or a tar archive of one. */
export type LayoutPlace = Readonly<{
  kind: 'oci' | 'oci-archive'
  path: string
  /** No name was given: repository and tag are those of the other side, unless the layout holds exactly one image. */
  assumed?: true
}>

/** distribution-spec "Pulling manifests": `<name>` is made of these, joined by `/`. */
const COMPONENT = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/
const TAG = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/
/** distribution/reference `domain`: name, IPv4 or bracketed IPv6, with an optional port. */
const HOST =
  /^(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?$/i
/** distribution/reference `RepositoryNameTotalLengthMax`. */
const LONGEST_REPOSITORY = 255
/** A DNS name has 253 characters; with a port 259. */
const LONGEST_HOST = 259
/** Host, repository, tag and a sha512 digest with their separators, and `docker://`. */
const LONGEST = LONGEST_HOST + 1 + LONGEST_REPOSITORY + 129 + 136 + 9
const DOCKER_HUB = 'docker.io'

export function isTag(text: string): boolean {
  return TAG.test(text)
}

/** Names that a server lists become paths of requests. */
export function isRepository(text: string): boolean {
  return text.length <= LONGEST_REPOSITORY && text.split('/').every((component) => COMPONENT.test(component))
}

/**
 * `docker://` is stripped; a first component with `.` or `:`, or `localhost`, is a host; `docker.io` gets `library/`.
 * @throws PromoteError USAGE that says what is wrong with which part.
 */
export function parseReference(text: string): Reference {
  const wrong = refusing(text, 'an image reference', 'References look like [host/]namespace/name[:tag][@sha256:…].')
  if (text.length > LONGEST) throw wrong(`it has ${text.length} characters, more than any reference can have`)
  if (text === '') throw wrong('it is empty')
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (/[\s\u0000-\u001f\u007f]/.test(text)) throw wrong('it contains white space or a control character')
  const bare = text.replace(/^docker:\/\//, '')
  const scheme = /^([a-zA-Z][a-zA-Z0-9+.-]*):\/\//.exec(bare)
  if (scheme) throw wrong(`it begins with the scheme "${scheme[0]}"; a reference begins with a host or a repository`)
  const [name = '', digest, ...more] = bare.split('@')
  if (more.length > 0) throw wrong('it has more than one "@"')
  const colon = name.indexOf(':', name.lastIndexOf('/') + 1)
  const path = colon < 0 ? name : name.slice(0, colon)
  return {
    ...parsePath(path, wrong),
    ...(colon < 0 ? {} : { tag: parseTag(name.slice(colon + 1), wrong) }),
    ...(digest === undefined ? {} : { digest: parseDigest(digest, wrong) }),
  }
}

const LAYOUT = /^(oci|oci-archive):/
/** `C:\\images` and `C:/images`: the colon belongs to the path. */
const DRIVE = /^[A-Za-z]:[\\/]/
/** PATH_MAX of Linux. */
const LONGEST_PATH = 4096

export function isLayout(text: string): boolean {
  return LAYOUT.test(text)
}

/**
 * `oci:PATH[:name][@digest]` and `oci-archive:FILE[:name][@digest]`. The name is `org.opencontainers.image.ref.name`, word
 * for word; what follows its last colon is the tag, what is before it the repository, so that other tags and
 * signatures of the same repository are found beside it.
 * @throws PromoteError USAGE
 */
export function parseLayout(text: string): Reference {
  const wrong = refusing(text, 'an OCI layout', 'Layouts look like oci:FOLDER[:name] or oci-archive:FILE.tar[:name].')
  const kind = LAYOUT.exec(text)?.[1] as LayoutPlace['kind']
  const rest = text.slice(kind.length + 1)
  const at = /@(?=sha(?:256|512):)/.exec(rest)?.index ?? -1
  const digest = at < 0 ? undefined : parseDigest(rest.slice(at + 1), wrong)
  const place = at < 0 ? rest : rest.slice(0, at)
  const colon = place.indexOf(':', DRIVE.test(place) ? 2 : 0)
  const path = colon < 0 ? place : place.slice(0, colon)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (/[\u0000-\u001f\u007f]/.test(text)) throw wrong('it contains a control character')
  if (path === '' || path.length > LONGEST_PATH) throw wrong(path === '' ? 'it has no path' : 'its path is too long')
  const name = colon < 0 ? undefined : place.slice(colon + 1)
  return { layout: { kind, path }, ...nameIn(name, wrong), ...(digest === undefined ? {} : { digest }) }
}

function nameIn(name: string | undefined, wrong: Wrong): Pick<Reference, 'repository' | 'tag'> {
  if (name === undefined) return { repository: '' }
  if (name === '') throw wrong('the name after the path is empty')
  if (name.length > LONGEST) throw wrong('its name is too long')
  return splitLayoutName(name)
}

/** The inverse of `layoutName`. */
export function splitLayoutName(name: string): Readonly<{ repository: string; tag: string }> {
  const colon = name.lastIndexOf(':')
  return { repository: name.slice(0, Math.max(colon, 0)), tag: name.slice(colon + 1) }
}

/** `org.opencontainers.image.ref.name` of a tag in a layout. */
export function layoutName(repository: string, tag: string): string {
  return repository === '' ? tag : `${repository}:${tag}`
}

/** The canonical form: what `parseReference` or `parseLayout` reads back as the same reference. */
export function formatReference(reference: Reference): string {
  if (reference.layout !== undefined) return formatLayout(reference, reference.layout)
  const host = reference.host === undefined ? '' : `${reference.host}/`
  const tag = reference.tag === undefined ? '' : `:${reference.tag}`
  const digest = reference.digest === undefined ? '' : `@${reference.digest}`
  return `${host}${reference.repository}${tag}${digest}`
}

function formatLayout({ repository, tag, digest }: Reference, { kind, path }: LayoutPlace): string {
  const name = [path, repository, tag].filter((part) => part !== undefined && part !== '').join(':')
  return `${kind}:${name}${digest === undefined ? '' : `@${digest}`}`
}

/** The host that serves the registry's API. It differs from the name only for Docker Hub. */
export function hostOf(host: string): string {
  return isDockerHub(host) ? 'registry-1.docker.io' : host
}

/** The repository's name on that host: Docker Hub stores names of one component under `library/`. */
export function repositoryOn(host: string, repository: string): string {
  return isDockerHub(host) && !repository.includes('/') ? `library/${repository}` : repository
}

/** Docker Hub has several names. */
export function isDockerHub(host: string): boolean {
  return [DOCKER_HUB, 'index.docker.io', 'registry-1.docker.io'].includes(host.toLowerCase())
}

type Wrong = (reason: string) => PromoteError

function refusing(text: string, what: string, hint: string): Wrong {
  return (reason) => new PromoteError('USAGE', `${quote(text)} is not ${what}: ${reason}.`, { side: 'input', hint })
}

/** `registry.example:5000/prod/app:1` → host and the rest, both unchecked; host is undefined if there is none. */
export function splitHost(name: string): Readonly<{ host: string | undefined; name: string }> {
  const slash = name.indexOf('/')
  const first = name.slice(0, Math.max(slash, 0))
  const hasHost = /[.:]/.test(first) || first.toLowerCase() === 'localhost'
  return hasHost ? { host: first, name: name.slice(slash + 1) } : { host: undefined, name }
}

function parsePath(path: string, wrong: Wrong): { host?: string; repository: string } {
  const { host: first, name } = splitHost(path)
  if (first === undefined) return { repository: parseRepository(path, wrong) }
  if (first.length > LONGEST_HOST || !HOST.test(first)) throw wrong(`${quote(first)} is not a host name`)
  const port = /:([0-9]+)$/.exec(first)?.[1]
  if (port !== undefined && (Number(port) < 1 || Number(port) > 65_535)) throw wrong(`port ${port} is out of range`)
  // Host names are compared without case.
  const host = first.toLowerCase()
  const repository = parseRepository(name, wrong)
  return isDockerHub(host) ? { host: DOCKER_HUB, repository: repositoryOn(host, repository) } : { host, repository }
}

function parseRepository(repository: string, wrong: Wrong): string {
  if (repository === '') throw wrong('the repository is empty')
  if (repository.length > LONGEST_REPOSITORY)
    throw wrong(`the repository has ${repository.length} characters, at most ${LONGEST_REPOSITORY} are allowed`)
  if (repository !== repository.toLowerCase()) throw wrong('a repository is lower case')
  for (const component of repository.split('/')) {
    if (component === '') throw wrong('the repository has an empty component (a "/" too many)')
    if (!COMPONENT.test(component))
      throw wrong(
        `component ${quote(component)} is not made of a-z and 0-9 with single ".", "_", "__" or "-" between them`,
      )
  }
  return repository
}

function parseTag(tag: string, wrong: Wrong): string {
  if (tag === '') throw wrong('the tag after ":" is empty')
  if (tag.length > 128) throw wrong(`the tag has ${tag.length} characters, at most 128 are allowed`)
  if (!isTag(tag))
    throw wrong(`tag ${quote(tag)} is not made of A-Z, a-z, 0-9, "_", "." and "-", or begins with "." or "-"`)
  return tag
}

function parseDigest(digest: string, wrong: Wrong): Digest {
  if (isDigest(digest)) return digest
  if (digest === '') throw wrong('the digest after "@" is empty')
  const [algorithm = '', hex = ''] = digest.split(':')
  const length = { sha256: 64, sha512: 128 }[algorithm]
  if (typeof length !== 'number') throw wrong('a digest is "sha256:" with 64 or "sha512:" with 128 hexadecimal digits')
  if (hex.length !== length) throw wrong(`a ${algorithm} digest has ${length} hexadecimal digits, not ${hex.length}`)
  throw wrong('the digest has characters that are not 0-9 or a-f in lower case')
}
