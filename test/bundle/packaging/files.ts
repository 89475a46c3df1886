import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { parseAllDocuments } from 'yaml'

/** The repository; this file runs from build/test/bundle/packaging. */
export const ROOT = join(import.meta.dirname, '..', '..', '..', '..')

export function read(file: string): string {
  return readFileSync(join(ROOT, file), 'utf8')
}

/** Paths of the files below a folder, sorted, with slashes. */
export function filesIn(folder: string): string[] {
  const path = (name: string) => `${folder}/${name}`
  return readdirSync(join(ROOT, folder))
    .sort()
    .flatMap((name) => (statSync(join(ROOT, path(name))).isDirectory() ? filesIn(path(name)) : [path(name)]))
}

/** Every YAML document of a text. @throws on the first that is not valid YAML. */
// biome-ignore lint/suspicious/noExplicitAny: tests look into documents of many kinds
export function documents(text: string): any[] {
  return parseAllDocuments(text).map((document) => {
    const [error] = document.errors
    if (error !== undefined) throw error
    return document.toJS()
  })
}
