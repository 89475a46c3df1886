import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { pack } from 'tar-stream'
import { type Digest, digestOf } from '../../../src/oci/digest.ts'
import { MEDIA_TYPE } from '../../../src/oci/manifest.ts'

/** A real image in memory: every manifest below an index, and every blob. */
export type BuiltImage = Readonly<{
  root: Readonly<{ digest: Digest; bytes: Buffer; mediaType: string }>
  manifests: readonly Readonly<{ digest: Digest; bytes: Buffer; mediaType: string }>[]
  blobs: ReadonlyMap<Digest, Buffer>
}>

/** A compressed archive; `diffId` is the digest of the archive itself. */
type Layer = Readonly<{ bytes: Buffer; diffId: Digest }>

type File = Readonly<{ path: string; bytes: Buffer; mode: number }>

const LAYER = 'application/vnd.oci.image.layer.v1.tar+gzip'
const CONFIG = 'application/vnd.oci.image.config.v1+json'

/**
 * An OCI index for two platforms. The image of this machine's platform holds the running Node, the libraries that it
 * loads and `dist/`: with a container engine it runs. The other one holds `dist/` alone.
 */
export async function buildImage(dist: string): Promise<BuiltImage> {
  const blobs = new Map<Digest, Buffer>()
  const put = (bytes: Buffer) => {
    const digest = digestOf(bytes)
    blobs.set(digest, bytes)
    return { digest, size: bytes.length }
  }
  const program = await layer(distFiles(dist))
  const here = process.arch === 'x64' ? 'amd64' : process.arch
  const images = [
    { architecture: here, layers: [...(await runtimeLayers()), program] },
    { architecture: here === 'arm64' ? 'amd64' : 'arm64', layers: [program] },
  ]
  const manifests = images.map(({ architecture, layers }) => {
    const config = {
      os: 'linux',
      architecture,
      config: { Entrypoint: ['/usr/local/bin/node', '/opt/image-promote/index.js'], User: '1001' },
      rootfs: { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) },
    }
    const document = {
      schemaVersion: 2,
      mediaType: MEDIA_TYPE.ociManifest,
      config: { mediaType: CONFIG, ...put(Buffer.from(JSON.stringify(config))) },
      layers: layers.map(({ bytes }) => ({ mediaType: LAYER, ...put(bytes) })),
    }
    return { ...manifest(document, MEDIA_TYPE.ociManifest), platform: { os: 'linux', architecture } }
  })
  const index = {
    schemaVersion: 2,
    mediaType: MEDIA_TYPE.ociIndex,
    manifests: manifests.map(({ digest, bytes, mediaType, platform }) => ({
      mediaType,
      digest,
      size: bytes.length,
      platform,
    })),
  }
  return { root: manifest(index, MEDIA_TYPE.ociIndex), manifests, blobs }
}

function manifest(document: unknown, mediaType: string) {
  const bytes = Buffer.from(JSON.stringify(document))
  return { digest: digestOf(bytes), bytes, mediaType }
}

function distFiles(dist: string): File[] {
  return readdirSync(dist).map((name) => ({
    path: `opt/image-promote/${name}`,
    bytes: readFileSync(join(dist, name)),
    mode: 0o444,
  }))
}

/** Node and its libraries, one layer each; on other systems than Linux any payload of some size. */
async function runtimeLayers(): Promise<Layer[]> {
  const node: File = { path: 'usr/local/bin/node', bytes: readFileSync(process.execPath), mode: 0o755 }
  if (process.platform !== 'linux') return [await layer([node])]
  const libraries = libraryPaths(process.execPath).map(
    (path): File => ({ path: path.slice(1), bytes: readFileSync(realpathSync(path)), mode: 0o755 }),
  )
  return libraries.length === 0 ? [await layer([node])] : [await layer(libraries), await layer([node])]
}

/** `ldd` prints `libm.so.6 => /lib/… (0x…)` and `/lib64/ld-linux-x86-64.so.2 (0x…)`; a static Node has none. */
function libraryPaths(program: string): string[] {
  try {
    const lines = execFileSync('ldd', [program], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).split('\n')
    return lines.flatMap((line) => /(?:=>\s*|^\s*)(\/\S+)\s+\(0x/.exec(line)?.[1] ?? [])
  } catch {
    return []
  }
}

/** Level 1: the demo shows a promotion, not a compression. */
async function layer(files: readonly File[]): Promise<Layer> {
  const archive = pack()
  for (const { path, bytes, mode } of files) archive.entry({ name: path, mode, mtime: new Date(0) }, bytes)
  archive.finalize()
  const chunks: Buffer[] = []
  for await (const chunk of archive) chunks.push(chunk as Buffer)
  const tar = Buffer.concat(chunks)
  return { bytes: gzipSync(tar, { level: 1 }), diffId: digestOf(tar) }
}
