import { deepStrictEqual } from 'node:assert'
import { AsyncLocalStorage } from 'node:async_hooks'
import { setTimeout as wait } from 'node:timers/promises'
import { ModernFakeTimers } from '@jest/fake-timers'
import { ModuleMocker } from 'jest-mock'
import { forgetRequests } from '../reused.ts'
import { announced } from '../servers.ts'

/**
 * Jest's environment of a test file: Node itself, without a context of its own, so that all files of a worker share the
 * modules that one of them has loaded. Loading them anew for each file took longer than most of the files run.
 *
 * What a file changes in its process would reach the next file. A file that does not put it back fails.
 */

type Given = Readonly<{ projectConfig: ConstructorParameters<typeof ModernFakeTimers>[0]['config'] }>

/**
 * Every file has a Jest of its own in its worker, and every Jest an AsyncLocalStorage, which stays among those that Node 20
 * and 22 go through for every promise: with each file, all that come after it get slower, and what it left is kept in
 * memory. Here they end with their file.
 */
const used = new Set<AsyncLocalStorage<unknown>>()
const { run } = AsyncLocalStorage.prototype
AsyncLocalStorage.prototype.run = function (this: AsyncLocalStorage<unknown>, ...given: Parameters<typeof run>) {
  used.add(this)
  return run.apply(this, given)
} as typeof run

/** For which Jest has handlers while it runs a file. */
const ERRORS = ['uncaughtException', 'unhandledRejection', 'rejectionHandled']

const currentOf = (name: string) => Object.getOwnPropertyDescriptor(globalThis, name)?.value
/** Without those that Node makes when they are first used. */
const GLOBALS = Object.getOwnPropertyNames(globalThis).flatMap((name) => {
  const value = currentOf(name)
  return value === undefined ? [] : [{ name, value }]
})

/** Servers that still listen, and programs that still run. */
function handles(): string[] {
  return process.getActiveResourcesInfo().filter((name) => /Server|^Process/.test(name))
}

function surroundings() {
  return {
    variables: { ...process.env },
    folder: process.cwd(),
    exitCode: process.exitCode,
    listeners: Object.fromEntries(process.eventNames().map((name) => [String(name), process.listenerCount(name)])),
    replaced: GLOBALS.filter(({ name, value }) => currentOf(name) !== value).map(({ name }) => name),
    servers: announced(),
    handles: handles(),
  }
}

// biome-ignore lint/style/noDefaultExport: Jest takes nothing else
export default class {
  readonly global = globalThis
  readonly moduleMocker = new ModuleMocker(globalThis)
  readonly fakeTimers = null
  readonly fakeTimersModern: ModernFakeTimers
  #before = surroundings()
  #isLoaded = true
  readonly #handlers = ERRORS.map((name) => ({ name, listeners: process.rawListeners(name) }))
  readonly #exit = process.exit

  constructor({ projectConfig: config }: Given) {
    this.fakeTimersModern = new ModernFakeTimers({ config, global: globalThis })
  }

  getVmContext(): null {
    return null
  }

  async setup(): Promise<void> {
    forgetRequests()
    this.#before = surroundings()
  }

  /** The file could not be loaded. Jest's own handlers for errors are still there then. */
  notLoaded(): void {
    this.#isLoaded = false
    for (const { name, listeners } of this.#handlers) {
      process.removeAllListeners(name)
      for (const listener of listeners) process.on(name, listener as () => void)
    }
  }

  async teardown(): Promise<void> {
    this.fakeTimersModern.dispose()
    for (const storage of used) storage.disable()
    used.clear()
    // Jest puts a function of its own before it, for each file.
    process.exit = this.#exit
    if (!this.#isLoaded) return
    const until = Date.now() + 5000
    while (handles().length > this.#before.handles.length && Date.now() < until) await wait(1)
    deepStrictEqual(surroundings(), this.#before, 'A test file has to leave its process as it found it.')
  }
}
