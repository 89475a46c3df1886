import { createHash } from 'node:crypto'
import { quote } from '../core/text.ts'

export type Shard = Readonly<{ index: number; of: number }>

const MOST_SHARDS = 256

/** `3/8`. @throws Error whose message follows the name of the option. */
export function parseShard(text: string): Shard {
  const [, index, of] = /^(\d{1,3})\/(\d{1,3})$/.exec(text) ?? []
  const shard = { index: Number(index), of: Number(of) }
  if (index !== undefined && shard.index >= 1 && shard.index <= shard.of && shard.of <= MOST_SHARDS) return shard
  throw new Error(`${quote(text)} is not a part of a list: write N/M, as in 3/8, with M up to ${MOST_SHARDS}`)
}

/** Depends on the name alone: runners that see different lists (a tag was pushed in between) promote no image twice. */
export function isInShard(name: string, { index, of }: Shard): boolean {
  return createHash('sha256').update(name).digest().readUInt32BE(0) % of === index - 1
}
