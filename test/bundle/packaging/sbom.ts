import { text } from 'node:stream/consumers'
import { read } from './files.ts'

/**
 * `npm sbom --sbom-format cyclonedx | node build/test/bundle/packaging/sbom.js`: the SBOM of the bundle. For npm everything
 * is a development dependency, so what the bundle holds is found in the list of licences that ncc wrote beside it.
 */

type Component = { 'bom-ref': string; name: string; properties?: { name: string }[] }
type Dependency = { ref: string; dependsOn?: string[] }
type Sbom = { components: Component[]; dependencies: Dependency[]; metadata: { component: Component } }

/** Names of the packages in the bundle: a line that is only a name, then the licence, then its text. */
function bundled(licenses: string): ReadonlySet<string> {
  return new Set([...licenses.matchAll(/^(@[\w.-]+\/[\w.-]+|[a-z][\w.-]*)$/gm)].map(([name]) => name))
}

/** What the bundle's packages reach from the project itself: the versions of the same names that only tests use are not it. */
function reached(sbom: Sbom, root: string, names: ReadonlySet<string>): ReadonlySet<string> {
  const next = new Map(sbom.dependencies.map(({ ref, dependsOn = [] }) => [ref, dependsOn]))
  const found = new Set<string>()
  const visit = (ref: string): void => {
    for (const each of next.get(ref) ?? []) {
      if (found.has(each) || !names.has(each.slice(0, each.lastIndexOf('@')))) continue
      found.add(each)
      visit(each)
    }
  }
  visit(root)
  return found
}

const sbom: Sbom = JSON.parse(await text(process.stdin))
const { component } = sbom.metadata
const found = reached(sbom, component['bom-ref'], bundled(read('dist/licenses.txt')))
const dependencies = sbom.dependencies.filter(({ ref }) => ref === component['bom-ref'] || found.has(ref))
const of = {
  ...sbom,
  // npm names it after the folder of the checkout.
  metadata: { ...sbom.metadata, component: { ...component, name: 'image-promote' } },
  components: sbom.components
    .filter((each) => found.has(each['bom-ref']))
    .map(({ properties = [], ...each }) => {
      const kept = properties.filter(({ name }) => name !== 'cdx:npm:package:development')
      return { ...each, properties: kept }
    }),
  dependencies: dependencies.map(({ ref, dependsOn = [] }) => ({
    ref,
    dependsOn: dependsOn.filter((each) => found.has(each)),
  })),
}
process.stdout.write(`${JSON.stringify(of, null, 2)}\n`)
