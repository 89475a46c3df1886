import { describe, expect, test } from '@jest/globals'
import { createSemaphore } from '../../../src/copy/semaphore.ts'
import { PromoteError } from '../../../src/core/errors.ts'
import type { Digest } from '../../../src/oci/digest.ts'
import { readManifest } from '../../../src/oci/manifest.ts'
import { checkGuard, type Guard, isGuarded, stillAt } from '../../../src/release/guards.ts'
import { backNeeded, deferrableSignal, type Move, moveAll, putBack } from '../../../src/release/move-tags.ts'
import { makeImage } from '../../support/cluster/image.ts'
import { testContext } from '../../support/copy.ts'
import { memoryStore } from '../../support/memory-store.ts'

const OLD: Digest = `sha256:${'0'.repeat(64)}`
const NEW: Digest = `sha256:${'1'.repeat(64)}`
const OTHER: Digest = `sha256:${'2'.repeat(64)}`

async function failure(call: Promise<unknown> | (() => unknown)): Promise<PromoteError> {
  try {
    await (typeof call === 'function' ? call() : call)
  } catch (thrown) {
    if (thrown instanceof PromoteError) return thrown
    throw thrown
  }
  throw new Error('nothing was thrown')
}

describe('a guard', () => {
  const GUARDS: readonly [Guard, Digest | null, 'passes' | 'refuses'][] = [
    [{ overwrite: 'always' }, null, 'passes'],
    [{ overwrite: 'always' }, OLD, 'passes'],
    [{ overwrite: 'same' }, null, 'passes'],
    [{ overwrite: 'same' }, NEW, 'passes'],
    [{ overwrite: 'same' }, OLD, 'refuses'],
    [{ overwrite: 'never' }, null, 'passes'],
    [{ overwrite: 'never' }, NEW, 'refuses'],
    [{ overwrite: 'never' }, OLD, 'refuses'],
    [{ overwrite: 'always', expect: OLD }, OLD, 'passes'],
    [{ overwrite: 'always', expect: OLD }, OTHER, 'refuses'],
    [{ overwrite: 'always', expect: OLD }, null, 'refuses'],
    // Moved already, by the run before: nothing is left to guard.
    [{ overwrite: 'always', expect: OLD }, NEW, 'passes'],
    [{ overwrite: 'always', expect: 'absent' }, null, 'passes'],
    [{ overwrite: 'always', expect: 'absent' }, OLD, 'refuses'],
    [{ overwrite: 'always', expect: 'absent' }, NEW, 'passes'],
    [{ overwrite: 'never', expect: OLD }, OLD, 'refuses'],
    [{ overwrite: 'same', expect: OLD }, OLD, 'refuses'],
  ]
  test.each(GUARDS)('%j of a tag at %s %s', async (guard, current, verdict) => {
    const check = () => checkGuard('b.example.com/prod/app', new Map([['1', current]]), NEW, () => guard)
    if (verdict === 'passes') expect(check).not.toThrow()
    else expect(await failure(check)).toMatchObject({ code: 'GUARD', side: 'destination' })
  })

  test('looks at every tag, and names the one that says no', async () => {
    const tags = new Map([
      ['1', null],
      ['stable', OLD],
    ])
    const error = await failure(() => checkGuard('b.example.com/prod/app', tags, NEW, () => ({ overwrite: 'same' })))
    expect(error.message).toBe(
      `b.example.com/prod/app:stable is at ${OLD}, and overwrite is same: it would move to ${NEW}.`,
    )
  })

  test('is none when any digest may be replaced', () => {
    expect(isGuarded({ overwrite: 'always' })).toBe(false)
    expect([isGuarded({ overwrite: 'same' }), isGuarded({ overwrite: 'always', expect: 'absent' })]).toEqual([
      true,
      true,
    ])
  })

  test('sees another writer right before the tag is written', async () => {
    const [before, after] = [makeImage({ seed: 1 }), makeImage({ seed: 2 })]
    const store = memoryStore()
    store.seed(before, 'v1')
    await stillAt(store, 'v1', before.root.digest)
    await stillAt(store, 'v2', null)
    store.seed(after, 'v1')
    expect(await failure(stillAt(store, 'v1', before.root.digest))).toMatchObject({
      code: 'TAG_MOVED',
      side: 'destination',
    })
    store.tagged.delete('v1')
    expect(await failure(stillAt(store, 'v1', before.root.digest))).toMatchObject({ code: 'TAG_MOVED' })
    store.seed(after, 'v2')
    expect(await failure(stillAt(store, 'v2', null))).toMatchObject({ code: 'TAG_MOVED' })
  })
})

const [NOW, BEFORE, FOREIGN] = [makeImage({ seed: 11 }), makeImage({ seed: 12 }), makeImage({ seed: 13 })]
const root = readManifest(NOW.root.bytes, NOW.root.mediaType, NOW.root.digest)

/** One after the other, so that the order of the list is that of the requests. */
const semaphore = createSemaphore(1)
type Write = (move: Move, begin: () => void) => Promise<void>
/** Writes, but for one tag: there this happens. */
const but = (tag: string, write: Write, happens: (move: Move) => Promise<void>): Write => {
  return (move, begin) =>
    move.tag !== tag
      ? write(move, begin)
      : semaphore(async () => {
          begin()
          await happens(move)
        })
}

/** A destination with everything in it: `a` and `b` are at the old image, `new` is not there. */
function destination(removes = true) {
  const store = memoryStore()
  for (const image of [NOW, FOREIGN]) store.seed(image)
  for (const tag of ['a', 'b']) store.seed(BEFORE, tag)
  const removeTag = async (tag: string) => removes && store.tagged.delete(tag)
  const target = Object.assign(store, { removeTag })
  const move = (tag: string, from: Digest | null = BEFORE.root.digest): Move => ({
    target,
    tag,
    from,
    to: root.descriptor.digest,
    state: 'waiting',
  })
  const write = (move: Move, begin: () => void) =>
    semaphore(async () => {
      begin()
      await target.putManifest(root, move.tag)
    })
  return { store, target, move, write, at: (tag: string) => store.tagged.get(tag) }
}

const refused = () =>
  new PromoteError('DENIED', 'b.example.com/prod/app: writing manifest b: 403 denied.', { side: 'destination' })

describe('moving all tags or none', () => {
  test('moves all of them', async () => {
    const { move, write, at } = destination()
    const moves = [move('a'), move('b'), move('new', null)]
    expect(await moveAll(moves, write, semaphore, testContext())).toBeUndefined()
    expect(moves.map(({ state }) => state)).toEqual(['moved', 'moved', 'moved'])
    expect(['a', 'b', 'new'].map(at)).toEqual([NOW, NOW, NOW].map((image) => image.root.digest))
  })

  test('puts back those that moved before one failed, removes a new one, and begins no other', async () => {
    const { move, write, at } = destination()
    const moves = [move('a'), move('new', null), move('b'), move('c', null)]
    const fails = but('b', write, () => Promise.reject(refused()))
    // The last one comes to its turn when the failure is known.
    const later: Write = async (each, begin) => {
      if (each.tag === 'c') await new Promise((resolve) => setImmediate(resolve))
      return fails(each, begin)
    }
    const failed = await moveAll(moves, later, semaphore, testContext())
    expect(failed).toMatchObject({ code: 'DENIED', side: 'destination' })
    expect(moves.map(({ state, error }) => [state, error?.code])).toEqual([
      ['reverted', undefined],
      ['reverted', undefined],
      ['waiting', 'DENIED'],
      ['waiting', undefined],
    ])
    expect(['a', 'new', 'b', 'c'].map(at)).toEqual([BEFORE.root.digest, undefined, BEFORE.root.digest, undefined])
  })

  test('puts back a tag that was written although its answer was lost', async () => {
    const { move, write, at } = destination()
    const moves = [move('a')]
    const lost = new PromoteError('NETWORK', 'the connection broke', { side: 'destination', transient: true })
    await moveAll(moves, (each, begin) => write(each, begin).then(() => Promise.reject(lost)), semaphore, testContext())
    expect(moves).toMatchObject([{ state: 'reverted', error: { code: 'NETWORK' } }])
    expect(at('a')).toBe(BEFORE.root.digest)
  })

  test('says which new tag stays where none can be removed', async () => {
    const { move, write, at } = destination(false)
    const moves = [move('new', null), move('a')]
    await moveAll(
      moves,
      but('a', write, () => Promise.reject(refused())),
      semaphore,
      testContext(),
    )
    expect(moves).toMatchObject([
      { state: 'stuck', error: { code: 'UNSUPPORTED', side: 'destination' } },
      { state: 'waiting' },
    ])
    expect(at('new')).toBe(NOW.root.digest)
  })

  test('leaves a tag alone that somebody else has written meanwhile', async () => {
    const { store, move, write, at } = destination()
    const moves = [move('a'), move('b')]
    const other = async () => {
      store.seed(FOREIGN, 'a')
      throw refused()
    }
    await moveAll(moves, but('b', write, other), semaphore, testContext())
    expect(moves).toMatchObject([
      { state: 'stuck', error: { code: 'TAG_MOVED' } },
      { state: 'waiting', error: { code: 'DENIED' } },
    ])
    expect(at('a')).toBe(FOREIGN.root.digest)
  })

  test('moves nothing when what a tag was at cannot be read any more', async () => {
    const { store, move, write, at } = destination()
    store.manifests.delete(BEFORE.root.digest)
    const moves = [move('a'), move('new', null)]
    expect(await moveAll(moves, write, semaphore, testContext())).toMatchObject({ code: 'NOT_FOUND' })
    expect(moves.map(({ state }) => state)).toEqual(['waiting', 'waiting'])
    expect(at('new')).toBeUndefined()
  })

  test('puts back from what it has kept, also when the registry has pruned it', async () => {
    const { store, move, write, at } = destination()
    const moves = [move('a'), move('b')]
    const prune = async () => {
      store.manifests.delete(BEFORE.root.digest)
      throw refused()
    }
    await moveAll(moves, but('b', write, prune), semaphore, testContext())
    expect([moves[0]?.state, at('a')]).toEqual(['reverted', BEFORE.root.digest])
  })
})

describe('putting one tag back', () => {
  const way = { from: BEFORE.root.digest, to: NOW.root.digest }

  test('is not needed where it is back already, or never moved', () => {
    expect(backNeeded('app:a', BEFORE.root.digest, way)).toBe(false)
    expect(backNeeded('app:none', null, { ...way, from: null })).toBe(false)
    expect(backNeeded('app:a', NOW.root.digest, way)).toBe(true)
  })

  test('puts the manifest of before under the tag again', async () => {
    const { store, target, at } = destination()
    store.tagged.set('a', NOW.root.digest)
    await putBack(target, 'a', way, testContext())
    expect(at('a')).toBe(BEFORE.root.digest)
  })

  test('touches nothing that another client has written since, or removed', async () => {
    for (const now of [FOREIGN.root.digest, null])
      expect(await failure(() => backNeeded('app:a', now, way))).toMatchObject({
        code: 'TAG_MOVED',
        side: 'destination',
      })
  })
})

describe('a signal between the first tag and the last', () => {
  test('waits for the last one', () => {
    const context = testContext()
    const { context: own, defer, resume } = deferrableSignal(context)
    defer()
    context.stop.abort('SIGTERM')
    expect(own.signal.aborted).toBe(false)
    resume()
    expect([own.signal.aborted, own.signal.reason]).toEqual([true, 'SIGTERM'])
  })

  test('does not wait at other times, nor when it was there before', () => {
    const context = testContext()
    const { context: own } = deferrableSignal(context)
    context.stop.abort('SIGINT')
    expect([own.signal.aborted, own.signal.reason]).toEqual([true, 'SIGINT'])
    expect(deferrableSignal(context).context.signal.aborted).toBe(true)
  })
})
