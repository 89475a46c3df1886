import { AsyncLocalStorage } from 'node:async_hooks'
import { TestEnvironment } from 'jest-environment-node'

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

// biome-ignore lint/style/noDefaultExport: Jest takes nothing else
export default class extends TestEnvironment {
  override async teardown(): Promise<void> {
    await super.teardown()
    for (const storage of used) storage.disable()
    used.clear()
  }
}
