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
    script: script.join('\n'),
    env,
  }))
}

/** `NAME = 'value'` of the environment block; `NAME = "…${params.VERSION}…"` of Groovy. */
export function jenkinsJobs({ user, password, token }: Secrets): Job[] {
  return jenkinsfile('Jenkinsfile', {
    IMAGE_PROMOTE_SOURCE_USERNAME: user,
    IMAGE_PROMOTE_SOURCE_PASSWORD: password,
    IMAGE_PROMOTE_DESTINATION_TOKEN: token,
  })
}

/** For a pod of the source cluster, whose service account is the credential there. */
export function jenkinsPodJobs({ token }: Pick<Secrets, 'token'>): Job[] {
  return jenkinsfile('Jenkinsfile-openshift', { IMAGE_PROMOTE_DESTINATION_TOKEN: token })
}

function jenkinsfile(file: string, credentials: Readonly<Record<string, string>>): Job[] {
  const text = read(`docs/samples/${file}`)
  const assigned = [...text.matchAll(/^ {4}(IMAGE_PROMOTE_\w+) = (["'])(.*)\2$/gm)].map(
    ([, name = '', , value = '']) => [name, value.replace(/\$\{params\.VERSION\}/g, VERSION)],
  )
  const env = {
    CI: 'true',
    JENKINS_URL: 'https://jenkins.example/',
    ...Object.fromEntries(assigned),
    ...credentials,
  }
  const bound = [...text.matchAll(/ariable: '(\w+)'/g)].map((match) => match[1] ?? '')
  if (bound.some((name) => !(name in env))) throw new Error(`no value for ${bound}`)
  return shellParts(text)
    .filter((script) => script.includes('node '))
    .map((script) => ({ name: `${file}: ${script}`, script, env }))
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
