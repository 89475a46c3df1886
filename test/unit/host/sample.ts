import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { OutputStreams } from '../../../src/host/cli.ts'
import type { Settings } from '../../../src/host/host.ts'
import type { Digest } from '../../../src/oci/digest.ts'
import type { Report, Row } from '../../../src/report/model.ts'

export const SETTINGS: Settings = {
  progress: 'plain',
  logLevel: 'info',
  report: undefined,
  summary: true,
  output: 'text',
  resultsLimit: 1400,
}

export const digestOf = (index: number): Digest => `sha256:${index.toString(16).padStart(64, '0')}`

export function row(index: number, more: Partial<Row> = {}): Row {
  return {
    source: `dev.example.com/dev/app:${index}`,
    sourceDigest: digestOf(index),
    destination: `prod.example.com:5000/prod/app:${index}`,
    target: 'destination',
    tag: String(index),
    digest: digestOf(index),
    previousDigest: null,
    status: 'promoted',
    bytes: { total: 10, copied: 10, mounted: 0, present: 0 },
    attached: [],
    error: null,
    platforms: ['linux/amd64'],
    milliseconds: 5,
    ...more,
  }
}

export function failedRow(index: number, message: string, hint: string | null = null): Row {
  return row(index, { digest: null, status: 'failed', error: { code: 'DENIED', side: 'destination', message, hint } })
}

export function reportOf(images: readonly Row[], more: Partial<Report> = {}): Report {
  return {
    schema: 'image-promote/report/v1',
    started: '2026-11-22T10:00:00.000Z',
    finished: '2026-11-22T10:00:05.000Z',
    run: 'local',
    dryRun: false,
    status: 'done',
    images,
    ...more,
  }
}

export type Recorded = OutputStreams & Readonly<{ stdout: () => string; stderr: () => string }>

export function recordStreams(): Recorded {
  const out: string[] = []
  const err: string[] = []
  return {
    out: (text) => void out.push(text),
    err: (text) => void err.push(text),
    stdout: () => out.join(''),
    stderr: () => err.join(''),
  }
}

/** A folder that is gone after `use`. */
export async function inFolder<T>(use: (folder: string) => Promise<T> | T): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'image-promote-'))
  try {
    return await use(folder)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
