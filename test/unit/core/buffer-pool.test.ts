import { expect, test } from '@jest/globals'
import { createBufferPool, release, retain } from '../../../src/core/buffer-pool.ts'

test('a buffer that was given back is lent again, and no other', () => {
  const acquire = createBufferPool(8)
  const [first, second] = [acquire(), acquire()]
  expect(second).not.toBe(first)
  release(first)
  expect(acquire()).toBe(first)
  expect(acquire()).not.toBe(second)
})

test('it is free when all that share it have given it back', () => {
  const acquire = createBufferPool(8)
  const piece = acquire()
  retain(piece, 3)
  release(piece)
  release(piece)
  expect(acquire()).not.toBe(piece)
  release(piece)
  expect(acquire()).toBe(piece)
})

test('giving back once too often lends it to nobody twice', () => {
  const acquire = createBufferPool(8)
  const piece = acquire()
  release(piece)
  release(piece)
  expect(acquire()).toBe(piece)
  expect(acquire()).not.toBe(piece)
})

test('a part of a piece, and what was never lent, is not on loan', () => {
  const acquire = createBufferPool(8)
  const piece = acquire()
  release(piece.subarray(0, 4))
  release(new Uint8Array(8))
  retain(new Uint8Array(8), 2)
  expect(acquire()).not.toBe(piece)
})
