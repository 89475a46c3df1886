import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openLayout } from '../../../src/layout/layout.ts'
import { testContext } from '../../support/copy.ts'
import { type Subject, targetContract } from '../../support/target-contract.ts'

const TRAITS = { resumes: true, referrersApi: true, sha512: true, sparse: true, common: true }

targetContract('an OCI layout in a folder', TRAITS, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'layout-'))
  const path = join(folder, 'made', 'on', 'the', 'way')
  // Each view reads what the others wrote.
  const open: Subject['open'] = (repository) =>
    openLayout({ kind: 'oci', path }, 'destination', testContext()).repository(repository)
  return { open, close: () => rm(folder, { recursive: true }) }
})

targetContract('an OCI layout in an archive', TRAITS, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'layout-'))
  const layout = openLayout({ kind: 'oci-archive', path: join(folder, 'a.tar') }, 'destination', testContext())
  const close = async () => {
    await layout.close()
    const left = await readdir(folder)
    await rm(folder, { recursive: true })
    if (left.length > 0) throw new Error(`left behind: ${left}`)
  }
  return { open: layout.repository, close }
})
