import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { type Program, runProgram } from '../../../src/credentials/subprocess.ts'
import { openRoom, type Room, refusalOf } from '../../support/credentials.ts'

let room: Room
beforeEach(() => {
  room = openRoom()
})
afterEach(() => room.close())

const program = (command: string, more: Partial<Program> = {}): Program => ({
  what: `program ${command}`,
  command,
  args: [],
  input: '',
  side: 'destination',
  hint: 'Install it.',
  ...more,
})

test('a program that exits without reading a long stdin harms nothing', async () => {
  room.program('deaf', `say('done')`)
  const finished = await runProgram(program('deaf', { input: 'x'.repeat(4 * 1024 * 1024) }), room.context)
  expect(finished).toEqual({ exitCode: 0, stdout: 'done', stderr: '' })
})

test('an empty stdin is closed, so that a program that reads it goes on', async () => {
  room.program('reader', `say('read ' + stdin().length)`)
  expect((await runProgram(program('reader'), room.context)).stdout).toBe('read 0')
})

test('it sees the environment of the run with what is added, and arguments as they are', async () => {
  room.env.FROM_RUN = 'run'
  room.program('env', `say([process.env.FROM_RUN, process.env.ADDED, process.env.HIDDEN ?? 'unset', ...argv])`)
  const finished = await runProgram(
    program('env', { args: ['a b', '$HOME', '"'], env: { ADDED: 'added' } }),
    room.context,
  )
  expect(JSON.parse(finished.stdout)).toEqual(['run', 'added', 'unset', 'a b', '$HOME', '"'])
})

test('it does not see the secrets that this project was given', async () => {
  room.env.IMAGE_PROMOTE_SOURCE_PASSWORD = 'hidden'
  room.env['INPUT_DESTINATION-TOKEN'] = 'hidden'
  room.env.AWS_SESSION_TOKEN = 'needed'
  room.program('all', 'say(Object.entries(process.env).flat())')
  const { stdout } = await runProgram(program('all'), room.context)
  expect(stdout).toContain('needed')
  expect(stdout).not.toContain('hidden')
})

test('programs that run side by side keep their output and their end to themselves', async () => {
  room.program('number', `say(stdin()); process.exitCode = Number(argv[0])`)
  const runs = [0, 1, 2].map((n) => runProgram(program('number', { args: [`${n}`], input: `in ${n}` }), room.context))
  expect((await Promise.all(runs)).map(({ exitCode, stdout }) => [exitCode, stdout])).toEqual([
    [0, 'in 0'],
    [1, 'in 1'],
    [2, 'in 2'],
  ])
})

test('a path with spaces is a path', async () => {
  const path = room.program('plain', `say('found')`)
  const spaced = room.file('with space/x', '').replace(/x$/, process.platform === 'win32' ? 'p.cmd' : 'p')
  const { copyFileSync } = await import('node:fs')
  copyFileSync(path, spaced)
  expect((await runProgram(program(spaced), room.context)).stdout).toBe('found')
})

test.each([
  ['longer than a system takes', { args: ['x'.repeat(200_000)] }],
  ['with a NUL', { env: { A: 'a\0b' } }],
])('a value %s is refused before anything is run', async (_name, more) => {
  const error = await refusalOf(() => runProgram(program('anything', more), room.context))
  expect([error.code, error.side]).toEqual(['HELPER', 'destination'])
  expect(error.message).toContain('was not started')
})

test('a command with a quotation mark is not split into a command and arguments', async () => {
  room.program('innocent', `say('ran')`)
  const error = await refusalOf(() => runProgram(program('innocent" --evil "'), room.context))
  expect([error.code, error.side]).toEqual(['HELPER', 'destination'])
})
