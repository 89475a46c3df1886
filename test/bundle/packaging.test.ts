import { describe, expect, test } from '@jest/globals'
import { parse } from 'yaml'
import { VERSION } from '../../src/core/version.ts'
import { helpText } from '../../src/inputs/help.ts'
import { OPTIONS } from '../../src/inputs/options.ts'
import { flagProblems } from './packaging/commands.ts'
import { read } from './packaging/files.ts'
import { generatedParts, TASK, withPart } from './packaging/generate.ts'
import type { Task } from './packaging/tekton.ts'

const action = parse(read('action.yml'))
const task = parse(read(TASK)) as Task
const RESULTS = ['digest', 'images', 'promoted', 'report']

describe('the options table, and what is made from it', () => {
  test.each(generatedParts().map((part) => [part.file, part.part, part] as const))(
    '%s: %s as `node build/test/bundle/packaging/main.js` writes them',
    (file, _, part) => {
      const text = read(file)
      expect(text).toBe(withPart(text, part))
      expect(part.lines.length).toBeGreaterThan(10)
    },
  )

  test('a file without markers is an error, not a file without options', () => {
    expect(() => withPart('inputs:\n', { file: 'x.yml', part: 'inputs', lines: [] })).toThrow('no place')
  })

  test('action.yml has an input for every option of GitHub, with its default, and no other', () => {
    const options = OPTIONS.filter((option) => option.hosts.includes('github'))
    expect(Object.keys(action.inputs)).toEqual(options.map((option) => option.name))
    expect(options.map(({ name }) => action.inputs[name].default)).toEqual(options.map((option) => option.default))
  })

  test('the Task has a param for every option of Tekton but the secrets, and the image of its step', () => {
    const options = OPTIONS.filter((option) => option.hosts.includes('tekton') && option.type !== 'secret')
    expect(task.spec.params?.map(({ name }) => name)).toEqual(['image', ...options.map((option) => option.name)])
  })

  test('--help names every option of the command line', () => {
    const help = helpText(VERSION)
    const missing = OPTIONS.filter((option) => option.hosts.includes('plain')).filter(
      ({ name }) => !help.includes(name),
    )
    // Both sides have the same options: help may say `--source-…` and `--destination-…` once.
    expect(missing.filter(({ name }) => !help.includes(name.replace(/^(?:source|destination)-/, '')))).toEqual([])
    expect(flagProblems(help)).toEqual([])
  })
})

describe('action.yml', () => {
  test('has the keys that the runner knows, runs on Node 24, and its main file is there', () => {
    expect(Object.keys(action).sort()).toEqual([
      'author',
      'branding',
      'description',
      'inputs',
      'name',
      'outputs',
      'runs',
    ])
    expect(action.runs).toEqual({ using: 'node24', main: 'dist/index.js' })
  })

  test('has the four outputs, described', () => {
    expect(Object.keys(action.outputs)).toEqual(RESULTS)
    for (const output of Object.values(action.outputs))
      expect(output).toEqual({ description: expect.stringMatching(/\w/) })
  })

  test('input names are lower case with hyphens', () => {
    for (const name of Object.keys(action.inputs)) expect(name).toMatch(/^[a-z]+(?:-[a-z]+)*$/)
  })
})
