import type { Digest } from './digest.ts'

/** `[host/]namespace/name[:tag][@digest]`. `host` is undefined when the side's own registry is meant. */
export type Reference = Readonly<{
  host?: string | undefined
  repository: string
  tag?: string | undefined
  digest?: Digest | undefined
}>
