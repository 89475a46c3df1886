import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/**
 * Jest calls it once, before the tests. The workers and the programs that the tests start inherit the environment.
 *
 * All files that tests write to the system's temporary folder are in one folder, which is removed at the end: a test that
 * fails or runs out of time cannot remove its files. The certificate authorities of the machine are not trusted: the tests
 * would depend on them, and reading a full SSL_CERT_DIR takes longer than most tests.
 */
// biome-ignore lint/style/noDefaultExport: Jest takes nothing else
export default function prepareEnvironment(): void {
  const folder = mkdtempSync(join(tmpdir(), 'image-promote-tests-'))
  // Windows looks at the latter two.
  for (const name of ['TMPDIR', 'TEMP', 'TMP']) process.env[name] = folder
  for (const name of ['NODE_EXTRA_CA_CERTS', 'SSL_CERT_FILE', 'SSL_CERT_DIR']) delete process.env[name]
  process.env.TEST_CERTIFICATES = join(folder, 'certificates')
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
}
