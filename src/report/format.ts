const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const

/** `812 B`, `48.1 MiB`, `1.4 GiB`: powers of 1024, one decimal below 100. */
export function formatBytes(bytes: number): string {
  let unit = 0
  let value = Math.max(0, bytes)
  // Rounded before the comparison, so that 1023.99 MiB reads `1 GiB` and never `1024 MiB`.
  while (unit < UNITS.length - 1 && roundForPeople(value) >= 1024) {
    value /= 1024
    unit += 1
  }
  return `${roundForPeople(value)} ${UNITS[unit]}`
}

/** Milliseconds as `0.3s`, `41s`, `2m 5s`, `1h 2m`. */
export function formatDuration(milliseconds: number): string {
  const seconds = Math.max(0, milliseconds) / 1000
  if (seconds < 9.95) return `${Math.round(seconds * 10) / 10}s`
  const whole = Math.round(seconds)
  if (whole < 60) return `${whole}s`
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${whole % 60}s`
  const minutes = Math.round(seconds / 60)
  return `${Math.floor(minutes / 60)}h ${minutes % 60}m`
}

/** `35 MiB/s`. A shorter time than a millisecond counts as one: clocks are no finer. */
export function formatRate(bytes: number, milliseconds: number): string {
  return `${formatBytes((bytes * 1000) / Math.max(1, milliseconds))}/s`
}

/** `1 image`, `2 images`. */
export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`
}

function roundForPeople(value: number): number {
  return value < 99.95 ? Math.round(value * 10) / 10 : Math.round(value)
}
