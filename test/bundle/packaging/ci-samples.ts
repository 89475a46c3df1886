import { documents, read } from './files.ts'

/** The script parts of the samples for CI systems, with the variables that each system would give them. */
export type Job = Readonly<{ name: string; script: string; env: Readonly<Record<string, string>> }>

/** What the documents call the secrets: contents of variables, or paths where the system makes files. */
export type Secrets = Readonly<{
  user: string
  password: string
  token: string
  passwordFile: string
  tokenFile: string
}>

const VERSION = '1.9.2'

export function gitlabJobs({ passwordFile, tokenFile }: Secrets): Job[] {
  const [{ stages: _, '.image-promote': base, ...jobs }] = documents(read('docs/samples/gitlab-ci.yml'))
  const given = { TEST_PASSWORD_FILE: passwordFile, PRODUCTION_TOKEN_FILE: tokenFile, CI_COMMIT_TAG: VERSION }
  const env = { ...given, CI: 'true', GITLAB_CI: 'true', ...expanded(base.variables, given) }
  return Object.entries(jobs as Record<string, { script: string[] }>).map(([name, { script }]) => ({
    name: `gitlab-ci.yml: ${name}`,
    script: [...base.before_script, ...script].join('\n'),
    env,
  }))
}

/** The stage that plans, and the one that promotes what it has left. */
export function jenkinsJobs({ user, password, token }: Secrets): Job[] {
  const [head = '', ...stages] = read('docs/samples/Jenkinsfile').split(/^ {4}stage\(/m)
  const env = jenkinsEnv(head, {
    IMAGE_PROMOTE_SOURCE_USERNAME: user,
    IMAGE_PROMOTE_SOURCE_PASSWORD: password,
    IMAGE_PROMOTE_DESTINATION_TOKEN: token,
  })
  const scripts = stages
    .map((stage) => {
      const own = Object.entries(assigned(stage)).map(([name, value]) => `export ${name}='${value}'`)
      const calls = shellParts(stage).filter((script) => script.includes('node '))
      return calls.length === 0 ? '' : ['(', ...own, ...calls, ')'].join('\n')
    })
    .filter((script) => script !== '')
  return scripts.map((_, index) => {
    const script = scripts.slice(0, index + 1).join('\n')
    return { name: `Jenkinsfile: ${index === 0 ? 'plan' : 'plan and promote'}`, script, env }
  })
}

/** For a pod of the source cluster, whose service account is the credential there. */
export function jenkinsPodJobs({ token }: Pick<Secrets, 'token'>): Job[] {
  const text = read('docs/samples/Jenkinsfile-openshift')
  const env = jenkinsEnv(text, { IMAGE_PROMOTE_DESTINATION_TOKEN: token })
  const bound = [...text.matchAll(/ariable: '(\w+)'/g)].map((match) => match[1] ?? '')
  if (bound.some((name) => !(name in env))) throw new Error(`no value for ${bound}`)
  return shellParts(text)
    .filter((script) => script.includes('node '))
    .map((script) => ({ name: `Jenkinsfile-openshift: ${script}`, script, env }))
}

function jenkinsEnv(text: string, credentials: Readonly<Record<string, string>>) {
  return { CI: 'true', JENKINS_URL: 'https://jenkins.example/', ...assigned(text), ...credentials }
}

/** `NAME = 'value'` of an environment block; `NAME = "…${params.VERSION}…"` of Groovy. */
function assigned(text: string): Readonly<Record<string, string>> {
  const found = [...text.matchAll(/^ +(IMAGE_PROMOTE_\w+) = (["'])(.*)\2$/gm)]
  return Object.fromEntries(
    found.map(([, name = '', , value = '']) => [name, value.replace(/\$\{params\.VERSION\}/g, VERSION)]),
  )
}

/** `sh '…'` and `sh '''…'''` of a Jenkinsfile. */
export function shellParts(text: string): string[] {
  return [...text.matchAll(/\bsh\s+(?:'''([\s\S]*?)'''|'([^'\n]*)')/g)].map((match) => match[1] ?? match[2] ?? '')
}

type AzureStep = Readonly<{ script?: string; displayName?: string; env?: Readonly<Record<string, string>> }>

export function azureJobs({ password, token, user }: Secrets): Job[] {
  const text = read('docs/samples/azure-pipelines.yml').replace(/\$\{\{ parameters\.version \}\}/g, VERSION)
  const [pipeline] = documents(text)
  const variables = (pipeline.variables as { name?: string; value?: string }[]).flatMap(({ name, value }) =>
    name === undefined ? [] : [[name, value ?? '']],
  )
  const given: Readonly<Record<string, string>> = {
    testPassword: password,
    productionToken: token,
    'Build.ArtifactStagingDirectory': '.',
  }
  return azureSteps(pipeline).map(({ script = '', displayName = '', env = {} }) => {
    const own = Object.entries(env).map(([name, value]) => [
      name,
      value.replace(/\$\(([\w.]+)\)/g, (whole, key) => {
        if (given[key] === undefined) throw new Error(`no value for ${whole}`)
        return given[key]
      }),
    ])
    const all = { CI: 'true', TF_BUILD: 'True', ...Object.fromEntries([...variables, ...own]) }
    return { name: `azure-pipelines.yml: ${displayName}`, script, env: { ...all, IMAGE_PROMOTE_SOURCE_USERNAME: user } }
  })
}

function azureSteps(part: unknown): AzureStep[] {
  if (typeof part !== 'object' || part === null) return []
  const { script } = part as AzureStep
  const own = script?.includes('node ') === true ? [part as AzureStep] : []
  return [...own, ...Object.values(part).flatMap(azureSteps)]
}

function expanded(values: Readonly<Record<string, string>>, from: Readonly<Record<string, string>>) {
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => [
      name,
      value.replace(/\$(\w+)/g, (whole, key) => from[key] ?? whole),
    ]),
  )
}

/** The check of a version in each sample: a shell script that fails, or the expression that a text has to fit. */
export function versionChecks(): readonly Readonly<{
  file: string
  variable: string
  script?: string
  fits?: RegExp
}>[] {
  const script = (file: string) => {
    const [check = ''] = /case "?\$\w+"? in[\s\S]*?esac/.exec(read(file)) ?? []
    return { file, script: check, variable: /\$(\w+)/.exec(check)?.[1] ?? '' }
  }
  const groovy = (file: string) => {
    const [, expression = ''] = /params\.VERSION ==~ \/(.*)\/\)/.exec(read(file)) ?? []
    return { file, fits: new RegExp(`^(?:${expression})$`), variable: 'VERSION' }
  }
  return [
    ...['docs/samples/github-approval.yml', 'docs/samples/github-workflow.yml'].map(script),
    ...['docs/samples/gitlab-ci.yml', 'docs/samples/azure-pipelines.yml'].map(script),
    ...['docs/samples/promote.sh', 'tekton/task/image-promote/samples/after-build.yaml'].map(script),
    ...['docs/samples/Jenkinsfile', 'docs/samples/Jenkinsfile-openshift'].map(groovy),
  ]
}
