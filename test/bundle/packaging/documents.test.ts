import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, statSync } from 'node:fs'
import { join, posix } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import { EXIT } from '../../../src/core/errors.ts'
import { VERSION } from '../../../src/core/version.ts'
import { shellParts, versionChecks } from './ci-samples.ts'
import { codeBlocks, flagProblems, inputProblems, variableProblems } from './commands.ts'
import { documents, filesIn, ROOT, read } from './files.ts'

describe('the samples', () => {
  test.each(['github-workflow', 'github-approval', 'github-attested'].map((name) => `docs/samples/${name}.yml`))(
    '%s passes inputs that exist and starts with no permissions',
    (file) => {
      const [workflow] = documents(read(file))
      expect(inputProblems(workflow)).toEqual([])
      expect(JSON.stringify(workflow)).toContain('/image-promote@')
      expect(workflow.permissions).toEqual({})
    },
  )

  test('an input that does not exist is found', () => {
    expect(inputProblems({ jobs: [{ uses: 'OWNER/image-promote@v1', with: { imagse: 'x' } }] })).toEqual([
      'input imagse is not an option',
    ])
  })

  test('docs/samples/gitlab-ci.yml has jobs with scripts of known flags', () => {
    const [pipeline] = documents(read('docs/samples/gitlab-ci.yml'))
    const scripts = Object.values(pipeline as Record<string, { script?: string[] }>).flatMap((job) => job.script ?? [])
    expect(scripts.length).toBe(2)
    for (const script of scripts) expectShell(script)
  })

  test.each(['docs/samples/Jenkinsfile', 'docs/samples/Jenkinsfile-openshift'])(
    '%s: braces balance, and the shell parts are shell with known flags and no secret',
    (file) => {
      const text = read(file)
      expect(unbalanced(text)).toBe('')
      const parts = shellParts(text)
      expect(parts.length).toBeGreaterThan(0)
      expect(parts).toHaveLength((text.match(/\bsh\s+['"]/g) ?? []).length)
      for (const part of parts) {
        expectShell(part)
        expect(part).not.toContain('$')
      }
    },
  )

  test('the pod of docs/samples/Jenkinsfile-openshift is YAML, and has the container that runs the steps', () => {
    const text = read('docs/samples/Jenkinsfile-openshift')
    const [pod] = documents(/yaml '{3}\n([\s\S]*?)'{3}/.exec(text)?.[1] ?? '')
    expect(pod.spec.containers.map(({ name }: { name: string }) => name)).toEqual(['promote'])
    expect(text).toContain("defaultContainer 'promote'")
    expect(JSON.stringify(pod)).not.toMatch(/privileged|hostPath/)
  })

  test('docs/samples/azure-pipelines.yml hands secrets over by env alone', () => {
    const text = read('docs/samples/azure-pipelines.yml')
    const [pipeline] = documents(text)
    expect(pipeline.stages.map(({ stage }: { stage: string }) => stage)).toEqual(['plan', 'promote'])
    expect(documents(text)).toHaveLength(1)
    for (const [, script = ''] of text.matchAll(/script: ([^|\n].*)/g)) {
      expectShell(script)
      expect(script).not.toContain('$')
    }
  })

  test('docs/samples/promote.sh is shell with known flags', () => expectShell(read('docs/samples/promote.sh')))

  test.each(versionChecks())('$file lets no version choose other images', ({ script, fits, variable }) => {
    if (process.platform === 'win32') return
    const accepts = (version: string) => {
      if (fits !== undefined) return fits.test(version)
      const env = { PATH: process.env.PATH ?? '', [variable]: version }
      return spawnSync('sh', ['-e', '-c', script ?? 'exit 1'], { env }).status === 0
    }
    for (const version of ['1.9.2', 'v1.9.2-rc.1', 'a', '2026_01_31'])
      expect([version, accepts(version)]).toEqual([version, true])
    const attacks = [
      '1.9.2=prod/other,test/evil:1',
      '1,test/evil:1=prod/api:2',
      '1\ntest/evil:1',
      '1 test/evil',
      '1@sha256:a',
      '*',
    ]
    for (const version of [...attacks, '', '-x', '.1', '1#', '$(id)', '1\r'])
      expect([version, accepts(version)]).toEqual([version, false])
  })

  test('docs/samples/Jenkinsfile holds no agent while it waits, and applies its plan', () => {
    const [, ...stages] = read('docs/samples/Jenkinsfile').split(/^ {4}stage\(/m)
    expect(read('docs/samples/Jenkinsfile')).toContain('  agent none\n')
    const waiting = stages.filter((stage) => /\binput\b/.test(stage))
    expect(waiting).toHaveLength(1)
    expect(waiting[0]).not.toMatch(/agent|sh '/)
    expect(stages.at(-1)).toContain("IMAGE_PROMOTE_PLAN = 'plan.json'")
    expect(stages.at(-1)).not.toContain('params.VERSION')
  })

  test.each([...filesIn('docs/samples'), ...filesIn('tekton')])('%s names only variables that exist', (file) => {
    expect(variableProblems(read(file))).toEqual([])
  })
})

const PAGES = [
  'README.md',
  'CONTRIBUTING.md',
  'SECURITY.md',
  'CHANGELOG.md',
  ...[...filesIn('docs'), ...filesIn('tekton')].filter((file) => file.endsWith('.md')),
]

describe.each(PAGES)('%s', (page) => {
  const text = read(page)

  test('names flags, variables and inputs that exist', () => {
    const blocks = codeBlocks(text)
    expect(text.match(/^```/gm)?.length ?? 0).toBe(blocks.length * 2)
    expect(blocks.flatMap((block) => flagProblems(block.text))).toEqual([])
    expect(variableProblems(text)).toEqual([])
    const yaml = blocks.filter((block) => block.language === 'yaml').flatMap((block) => documents(block.text))
    expect(yaml.flatMap(inputProblems)).toEqual([])
  })

  test('shell blocks are shell', () => {
    for (const block of codeBlocks(text).filter(({ language }) => language === 'sh')) expectShell(block.text)
  })

  test('links to files that are there', () => {
    expect(linksOf(page).filter((file) => !existsSync(join(ROOT, file)))).toEqual([])
  })

  test('links to headings that are there', () => {
    const links = [...text.matchAll(/\]\(((?!https?:)[^)#\s]*)#([^)\s]+)\)/g)]
    const missing = links.filter(([, file = '', anchor = '']) => {
      const target = file === '' ? text : read(posix.join(posix.dirname(page), file))
      return !anchorsOf(target).has(anchor)
    })
    expect(missing.map(([link]) => link)).toEqual([])
  })
})

test('the README is short, and leads to every page and sample', () => {
  const readme = read('README.md')
  expect(readme.split('\n').length).toBeLessThanOrEqual(200)
  const pages = filesIn('docs').filter((file) => /^docs\/[^/]*\.md$/.test(file))
  expect(pages.filter((page) => !readme.includes(`](${page})`))).toEqual([])
  const reached = new Set(['README.md', ...pages].flatMap((page) => linksOf(page)))
  expect(filesIn('docs/samples').filter((sample) => !reached.has(sample))).toEqual([])
})

test('every sample and page speaks of the version of the package', () => {
  const files = [...PAGES.filter((page) => page !== 'CHANGELOG.md'), ...filesIn('docs/samples'), ...filesIn('tekton')]
  const named = [...new Set(files)].flatMap((file) =>
    [
      ...read(file).matchAll(
        /image-promote(?:@v|:|\/v|-v|-|#v)(\d+\.\d+\.\d+)|(?:--branch|ref:|value:|verify|download\/)[ ]?v(0\.\d+\.\d+)/g,
      ),
    ].map((match) => [file, match[1] ?? match[2]]),
  )
  expect(named.length).toBeGreaterThan(10)
  expect(named.filter(([, version]) => version !== VERSION)).toEqual([])
})

test('the checks of pages find what is wrong', () => {
  expect(flagProblems('node dist/index.js --imagse x --dry-run -- --not-looked-at')).toEqual([
    '--imagse is not an option',
  ])
  expect(flagProblems('image-promote \\\n  --source-token secret')).toEqual(['--source-token is not an option'])
  expect(flagProblems('npx github:OWNER/image-promote#v0.1.0 --imagse x')).toEqual(['--imagse is not an option'])
  expect(flagProblems('podman run --rm quay.io/OWNER/image-promote:0.1.0 --imagse x')).toHaveLength(1)
  expect(flagProblems('npx https://x/image-promote-0.1.0.tgz --imagse x')).toHaveLength(1)
  expect(flagProblems('git clone --depth 1 https://github.com/OWNER/image-promote.git')).toEqual([])
  expect(variableProblems('IMAGE_PROMOTE_IMAGSE=x')).toEqual(['IMAGE_PROMOTE_IMAGSE is no variable'])
})

test('docs/troubleshooting.md has a section for every error code, and none for a code that does not exist', () => {
  const declared = [...read('src/core/errors.ts').matchAll(/^ {2}\| '([A-Z_]+)'/gm)].map((match) => match[1] ?? '')
  const sections = [...read('docs/troubleshooting.md').matchAll(/^### `([A-Z_]+)`/gm)].map((match) => match[1] ?? '')
  expect(declared.length).toBeGreaterThan(20)
  expect(sections.sort()).toEqual(declared.sort())
})

test('the exit codes of docs/outputs.md are those that a run can end with', () => {
  const table = /\| exit code [\s\S]*?(?:\n\n|$)/.exec(read('docs/outputs.md'))?.[0] ?? ''
  const told = [...table.matchAll(/^\| (\d[\d, ]*?) +\|/gm)].flatMap((match) =>
    (match[1] ?? '').split(', ').map(Number),
  )
  expect(told).toEqual(Object.values(EXIT))
})

test('.ci/run is executable Bash', () => {
  if (!hasProgram('bash')) return
  expect(spawnSync('bash', ['-n', join(ROOT, '.ci', 'run')], { encoding: 'utf8' }).stderr).toBe('')
  if (process.platform !== 'win32') expect(statSync(join(ROOT, '.ci', 'run')).mode & 0o111).not.toBe(0)
})

/** Files of the repository that a page links to. */
function linksOf(page: string): string[] {
  const links = [...read(page).matchAll(/\]\((?!https?:|#)([^)#\s]+)/g)].map((match) => match[1] ?? '')
  return links.map((link) => posix.join(posix.dirname(page), link))
}

/** Of a heading, as GitHub makes them: lower case, blanks as hyphens, punctuation left out. */
function anchorsOf(markdown: string): Set<string> {
  const headings = markdown.replace(/^```[\s\S]*?^```$/gm, '').matchAll(/^#+ (.*)$/gm)
  return new Set(
    [...headings].map(([, heading = '']) =>
      heading
        .toLowerCase()
        .replace(/[^\p{L}\p{N}\s_-]/gu, '')
        .trim()
        .replace(/ /g, '-'),
    ),
  )
}

function expectShell(script: string): void {
  expect(flagProblems(script)).toEqual([])
  expect(variableProblems(script)).toEqual([])
  if (!hasProgram('sh')) return
  expect(spawnSync('sh', ['-n'], { input: script, encoding: 'utf8' }).stderr).toBe('')
}

function hasProgram(name: string): boolean {
  try {
    execFileSync(name, ['-c', 'exit 0'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

/** The first bracket of Groovy text that has no partner, strings and comments left out. */
function unbalanced(text: string): string {
  const closing: Readonly<Record<string, string>> = { '(': ')', '[': ']', '{': '}' }
  const bare = text.replace(/'''[\s\S]*?'''|'[^'\n]*'|"[^"\n]*"|\/\/.*/g, '')
  const open: string[] = []
  for (const [bracket] of bare.matchAll(/[()[\]{}]/g)) {
    const expected = closing[bracket]
    if (expected !== undefined) open.push(expected)
    else if (open.pop() !== bracket) return bracket
  }
  return open.join('')
}
