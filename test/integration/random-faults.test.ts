import { expect, test } from '@jest/globals'
import { seeds } from '../support/random.ts'
import { runSchedule } from './faults/schedule.ts'

/** The seed of a failure stands in the name of its test, and its schedule in the message. */
test.each(seeds(10, 200))(
  'faults of seed %i end in a complete image or a clear error, with no tag moved and no upload left open',
  async (seed) => {
    const { schedule, problems } = await runSchedule(seed)
    expect({ seed, schedule, problems }).toEqual({ seed, schedule, problems: [] })
  },
  30_000,
)
