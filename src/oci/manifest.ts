import type { Digest } from './digest.ts'
import type { Platform } from './platform.ts'

/** OCI image-spec descriptor.md. Unknown members are kept out: manifests are bytes, this is a view. */
export type Descriptor = Readonly<{
  mediaType: string
  digest: Digest
  /** Bytes. */
  size: number
  platform?: Platform | undefined
  artifactType?: string | undefined
  annotations?: Readonly<Record<string, string>> | undefined
  urls?: readonly string[] | undefined
  /** Base64 of the content, when it is embedded. */
  data?: string | undefined
}>

/** What a manifest points at, in the order of the document. */
export type Link = Readonly<{
  kind: 'manifest' | 'blob'
  role: 'child' | 'config' | 'layer' | 'subject'
  descriptor: Descriptor
}>

/** Bytes are the truth; links are a view of them. A manifest is never serialised again. */
export type Manifest = Readonly<{
  descriptor: Descriptor
  bytes: Uint8Array
  links: readonly Link[]
  /** `index` for OCI indexes and docker manifest lists. */
  shape: 'index' | 'image'
  artifactType?: string | undefined
  annotations?: Readonly<Record<string, string>> | undefined
}>
