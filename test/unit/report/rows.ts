import type { Digest } from '../../../src/oci/digest.ts'
import type { Event, Row } from '../../../src/report/model.ts'

export const MIB = 1024 * 1024

export function digest(character: string): Digest {
  return `sha256:${character.repeat(64)}`
}

/** A promoted row; the test says what differs. */
export function row(change: Partial<Row> = {}): Row {
  return {
    source: 'registry.dev.example/dev/app:1.2',
    sourceDigest: digest('a'),
    destination: 'registry.prod.example/prod/app:1.2',
    target: 'destination',
    tag: '1.2',
    digest: digest('a'),
    previousDigest: digest('b'),
    status: 'promoted',
    bytes: { total: 200 * MIB, copied: 50 * MIB, mounted: 90 * MIB, present: 60 * MIB },
    attached: [],
    error: null,
    platforms: ['linux/amd64', 'linux/arm64'],
    milliseconds: 3200,
    ...change,
  }
}

export function failed(change: Partial<Row> = {}, message = 'PUT of the manifest: "denied". '): Row {
  const error = { code: 'DENIED', side: 'destination', message, hint: 'Ask for the role registry-editor.' } as const
  return row({
    status: 'failed',
    digest: null,
    error,
    bytes: { total: 0, copied: 0, mounted: 0, present: 0 },
    ...change,
  })
}

export function planEvent(change: Partial<Extract<Event, { event: 'plan' }>> = {}): Event {
  return {
    event: 'plan',
    image: 0,
    images: 1,
    source: 'registry.dev.example/dev/app:1.2',
    destination: 'registry.prod.example/prod/app:1.2',
    digest: digest('a'),
    steps: [
      { do: 'copy', digest: digest('1'), kind: 'blob', mediaType: 'layer', size: 100 * MIB, why: 'not there' },
      { do: 'copy', digest: digest('2'), kind: 'blob', mediaType: 'layer', size: 100 * MIB, why: 'not there' },
      { do: 'skip', digest: digest('3'), kind: 'blob', mediaType: 'layer', size: 20 * MIB, why: 'at the destination' },
      { do: 'push', digest: digest('a'), kind: 'manifest', mediaType: 'manifest', size: 1000, why: 'not there' },
    ],
    certain: true,
    bytes: { total: 220 * MIB + 1000, copied: 200 * MIB + 1000, mounted: 0, present: 20 * MIB },
    tags: [{ tag: '1.2', from: digest('b'), to: digest('a') }],
    ...change,
  }
}
