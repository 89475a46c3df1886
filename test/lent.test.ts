import { expect, test } from '@jest/globals'
import { giveBack, lender, share } from '../src/lent.ts'

test('a buffer that was given back is lent again, and no other', () => {
  const lend = lender(8)
  const [first, second] = [lend(), lend()]
  expect(second).not.toBe(first)
  giveBack(first)
  expect(lend()).toBe(first)
  expect(lend()).not.toBe(second)
})

test('it is free when all that share it have given it back', () => {
  const lend = lender(8)
  const piece = lend()
  share(piece, 3)
  giveBack(piece)
  giveBack(piece)
  expect(lend()).not.toBe(piece)
  giveBack(piece)
  expect(lend()).toBe(piece)
})

test('giving back once too often lends it to nobody twice', () => {
  const lend = lender(8)
  const piece = lend()
  giveBack(piece)
  giveBack(piece)
  expect(lend()).toBe(piece)
  expect(lend()).not.toBe(piece)
})

test('a part of a piece, and what was never lent, is not on loan', () => {
  const lend = lender(8)
  const piece = lend()
  giveBack(piece.subarray(0, 4))
  giveBack(new Uint8Array(8))
  share(new Uint8Array(8), 2)
  expect(lend()).not.toBe(piece)
})
