/** Whom one side trusts: the usual roots, the places where platforms put their own, and the side's own authority. */
import { X509Certificate } from 'node:crypto'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import * as tls from 'node:tls'
import type { Context } from '../core/context.ts'
import { PromoteError, reasonOf, type Side } from '../core/errors.ts'
import { pemBlocks } from '../core/pem.ts'

/**
 * What is trusted beside Node's default roots: NODE_EXTRA_CA_CERTS (Node 20 forgets it in a context with authorities of its
 * own), SSL_CERT_FILE, and every PEM file in the folders of SSL_CERT_DIR: OpenShift Pipelines sets a list of folders there,
 * which no flag of Node honours. What cannot be read or parsed is passed over, as OpenSSL does.
 */
function addedAuthorities(env: Context['env']): string[] {
  const extra = [env.NODE_EXTRA_CA_CERTS, env.SSL_CERT_FILE].flatMap((file) => pemsOf(file ?? ''))
  const folders = (env.SSL_CERT_DIR ?? '').split(delimiter).filter((folder) => folder !== '')
  return [...extra, ...folders.flatMap(pemsIn)]
}

/**
 * One context for all connections of a side. The authorities are added to Node's default roots, which Node parses once for
 * all contexts; a `ca` array would have to list the roots, and Node parses an array for each context, which takes 25 ms.
 * @param own PEM text of the side's own authority.
 */
export function trustContext(
  env: Context['env'],
  own: string | undefined,
  side: Side,
  identity: Readonly<{ cert: string; key: string }> | undefined,
): tls.SecureContext {
  const added = [...addedAuthorities(env), ...ownAuthorities(own, side)]
  // As in Go: an issuing authority is trusted without its root.
  const partial = added.length === 0 ? {} : { allowPartialTrustChain: true }
  try {
    const trust = tls.createSecureContext({ ...partial, ...(identity && { cert: identity.cert, key: identity.key }) })
    for (const pem of new Set(added)) trust.context.addCACert(pem)
    return trust
  } catch (thrown) {
    // Damaged authorities are passed over, so it is the identity.
    const text = `The client certificate and its key cannot be used: ${reasonOf(thrown)}.`
    throw new PromoteError('USAGE', text, { side, cause: thrown })
  }
}

/** @throws PromoteError USAGE when the text holds no certificate, or a damaged one. */
export function ownAuthorities(own: string | undefined, side: Side): string[] {
  if (own === undefined || own.trim() === '') return []
  const pems = pemBlocks(own, 'CERTIFICATE')
  if (pems.length > 0 && pems.every(isCertificate)) return pems
  throw new PromoteError('USAGE', `${caOption(side)}: no readable PEM certificate in it.`, {
    side,
    hint: 'It starts with -----BEGIN CERTIFICATE-----; a DER file is converted by `openssl x509 -inform der`.',
  })
}

export function caOption(side: Side): string {
  return side === 'input' ? 'ca' : `${side}-ca`
}

function isCertificate(pem: string): boolean {
  try {
    return new X509Certificate(pem).subject !== undefined
  } catch {
    return false
  }
}

function pemsIn(folder: string): string[] {
  try {
    return readdirSync(folder)
      .sort()
      .flatMap((name) => pemsOf(join(folder, name)))
  } catch {
    return []
  }
}

function pemsOf(file: string): string[] {
  try {
    return file !== '' && statSync(file).isFile() ? pemBlocks(readFileSync(file, 'latin1'), 'CERTIFICATE') : []
  } catch {
    return []
  }
}
