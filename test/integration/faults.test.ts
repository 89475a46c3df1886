import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { hasDockerRegistry, type RealRegistry, startDockerRegistry } from '../support/docker-registry.ts'
import { MATRIX } from './faults/matrix.ts'
import { cutAllAlong, onEmbedded, onRegistry } from './faults/rows.ts'

const MIB = 1024 * 1024
const TERMS = { unit: MIB, real: false, stall: 600 }
/** Debian's registry takes small layers quickly. */
const SMALL = { ...TERMS, unit: 0.5 * MIB }

describe('a promotion survives, on the embedded registry', () => {
  test.each(MATRIX.map((row) => [row.id, row.fault, row] as const))('%s: %s', async (_id, _fault, row) => {
    expect((await onEmbedded(row, TERMS)).problems).toEqual([])
  })

  test('a layer that is cut over and over on both sides', async () => {
    expect((await cutAllAlong({ size: 16 * MIB, every: 2 * MIB }, TERMS)).problems).toEqual([])
  })
})

if (hasDockerRegistry()) {
  describe("a promotion survives, through a fault proxy before Debian's docker-registry", () => {
    let registry: RealRegistry | undefined
    beforeAll(async () => {
      registry = await startDockerRegistry()
    })
    afterAll(() => registry?.close())
    const url = () => {
      if (registry === undefined) throw new Error('it was there a moment ago')
      return registry.url
    }

    test.each(MATRIX.filter(({ embedded }) => embedded === undefined).map((row) => [row.id, row.fault, row] as const))(
      '%s: %s',
      async (_id, _fault, row) => {
        expect((await onRegistry(row, url(), SMALL)).problems).toEqual([])
      },
    )

    test('a layer that is cut over and over at the source', async () => {
      expect((await cutAllAlong({ size: 6 * MIB, every: MIB }, SMALL, url())).problems).toEqual([])
    })
  })
}
