import { join } from 'node:path'
import { stringify } from 'yaml'
import { ROOT } from '../packaging/files.ts'
import { type Stage, VERSION } from './stage.ts'

/** The shell executor has no container: the program is that of this checkout. */
export async function gitlab(stage: Stage, program: string): Promise<void> {
  const { test, production } = stage
  const sample = stage
    .sample('docs/samples/gitlab-ci.yml')
    .replaceAll('/opt/image-promote/index.js', join(ROOT, 'dist/index.js'))
    .replaceAll('USERNAME: promoter', 'USERNAME: developer')
    .replace(/# (IMAGE_PROMOTE_\w+_CA:)/g, '$1')
  stage.file('.gitlab-ci.yml', sample)
  const file = (content = '') => ({ type: 'file', values: { '*': content } })
  const global = {
    TEST_PASSWORD_FILE: file(test.users.developer),
    PRODUCTION_TOKEN_FILE: file(production.token('developer')),
    TEST_CA: file(test.ca.bundle),
    PRODUCTION_CA: file(production.ca.bundle),
  }
  stage.file('.gitlab-ci-local-variables.yml', stringify(global))
  stage.file('.gitignore', '.gitlab-ci-local*\nreport.json\n')
  await stage.commit(VERSION)
  const call = ['--force-shell-executor', '--variable', `CI_COMMIT_TAG=${VERSION}`]
  const planned = await stage.run(program, [...call, 'plan'])
  if (!planned.includes('Dry run: 1 to promote')) throw new Error('the job plan has planned nothing')
  await stage.run(program, [...call, 'promote'])
  stage.expectPromoted([`prod/api:${VERSION}`])
}
