/** OCI image-spec image-index.md "platform". */
export type Platform = Readonly<{
  os: string
  architecture: string
  variant?: string | undefined
  'os.version'?: string | undefined
}>
