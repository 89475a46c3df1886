import { PromoteError } from '../errors.ts'

/** How registries say that they do not have a manifest: distribution-spec "Error Codes", and Harbor's NOT_FOUND. */
const ABSENT = ['MANIFEST_UNKNOWN', 'NAME_UNKNOWN', 'BLOB_UNKNOWN', 'NOT_FOUND']

/**
 * Whether the source itself says that it does not have the manifest. Other answers with 404 (a proxy's page, OpenShift's
 * OPENSHIFT_PULLTHROUGH_MANIFEST for an upstream that failed) say only that it could not be fetched now.
 */
export function isSaidAbsent({ code, status, server }: PromoteError): boolean {
  if (code !== 'NOT_FOUND') return false
  // A layout is a folder that was looked into.
  if (status === undefined) return true
  return status === 404 && server.length > 0 && server.every((entry) => ABSENT.includes(entry.code))
}

/** @param what the sentence about what was to be read, without a full stop. */
export function unreadable(what: string, thrown: PromoteError): PromoteError {
  return new PromoteError(thrown.code, `${what}, which could not be read: ${thrown.message}`, {
    ...thrown,
    side: 'source',
    cause: thrown,
    hint: 'The source does not say that it is missing, so skip-missing does not leave it out. Find out why it cannot be read.',
  })
}
