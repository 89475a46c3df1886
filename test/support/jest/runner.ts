import nodeModule, { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import { useGlobals } from './globals.ts'
import { resolve } from './hooks.ts'

/**
 * Jest's own test runner (jest-circus), for which Node loads the modules: the test files, and what they import, are
 * imported as any program imports them, once for all test files of a worker.
 */

type Circus = (...given: [config: unknown, project: unknown, environment: unknown, Loader, ...unknown[]]) => unknown

/** What jest-circus wants of jest-runtime. */
type Loader = Readonly<{
  setGlobalsForRuntime(globals: object): void
  requireInternalModule(path: string): unknown
  requireModule(path: string): unknown
  enterTestCode(): void
  leaveTestCode(): void
  unstable_shouldLoadAsEsm(path: string): boolean
  unstable_importModule(path: string): Promise<unknown>
}>

type Runtime = Pick<Loader, 'setGlobalsForRuntime'> &
  Readonly<{ requireModuleOrMock(from: string, name: string): Parameters<typeof useGlobals>[0] }>

const require = createRequire(import.meta.url)
const circus: Circus = require('jest-circus/runner').default

// Node 20 has only `register`, which newer ones warn of.
const { registerHooks } = nodeModule as { registerHooks?: (hooks: object) => void }
if (registerHooks) registerHooks({ resolve })
else nodeModule.register('./hooks.js', import.meta.url)

type Environment = Readonly<{ notLoaded(): void }>
type Given = [config: unknown, project: unknown, Environment, Runtime, path: string, ...unknown[]]

// biome-ignore lint/style/noDefaultExport: Jest takes nothing else
export default async function runFile(...[config, project, environment, runtime, path, ...rest]: Given) {
  try {
    return await circus(config, project, environment, loader(runtime, path), path, ...rest)
  } catch (thrown) {
    environment.notLoaded()
    throw thrown
  }
}

function loader(runtime: Runtime, path: string): Loader {
  return {
    setGlobalsForRuntime(globals) {
      runtime.setGlobalsForRuntime(globals)
      useGlobals(runtime.requireModuleOrMock(path, '@jest/globals'))
    },
    // The tests of a file, their handlers and their timeout: each file begins without those of the last one.
    requireInternalModule(module) {
      delete require.cache[module]
      for (const name of ['EVENT_HANDLERS', 'TEST_TIMEOUT_SYMBOL']) Reflect.deleteProperty(globalThis, Symbol.for(name))
      return require(module)
    },
    requireModule: require,
    enterTestCode: () => {},
    leaveTestCode: () => {},
    unstable_shouldLoadAsEsm: () => true,
    unstable_importModule: (module) => import(pathToFileURL(module).href),
  }
}
