import { randomBytes } from 'node:crypto'
import { describe, expect, test } from '@jest/globals'
import { Secrets } from '../../../src/core/secret.ts'
import { cut, oneLine, quote } from '../../../src/core/text.ts'

/** Promise: no part of a secret that tells it is printed, wherever a text was cut. */

const value = `p/s+s w"ö&${randomBytes(12).toString('base64url')}~end`
const forms: Readonly<Record<string, string>> = {
  plain: value,
  base64: Buffer.from(value).toString('base64'),
  'base64 with one byte before it': Buffer.from(`:${value}`).toString('base64'),
  'base64 with two bytes before it': Buffer.from(`u:${value}`).toString('base64'),
  base64url: Buffer.from(value).toString('base64url'),
  percent: encodeURIComponent(value),
  form: new URLSearchParams([['', value]]).toString().slice(1),
  JSON: JSON.stringify(value).slice(1, -1),
}

describe.each(Object.entries(forms))('%s', (name, form) => {
  const secrets = new Secrets()
  secrets.keep(value)
  // What stands around base64 is not the secret's.
  const known = form.slice(4, -4)

  test('is hidden without its last characters, however many those are', () => {
    for (let length = 8; length <= form.length; length++) {
      const text = `the server said "${'x'.repeat(80)} ${form} and more"`
      const end = text.indexOf(form) + length
      for (const shown of [
        cut(text, end + 1),
        oneLine(text, end + 1),
        ...(name === 'JSON' ? [] : [quote(text, end + 1)]),
      ])
        expect(secrets.redact(`${shown}.`)).not.toContain(
          known.slice(0, Math.max(4, Math.min(known.length, length - 4))),
        )
    }
  })

  test('is hidden without its first or last ones, where nothing says that it was cut', () => {
    for (let length = 20; length < known.length; length++) {
      expect(secrets.redact(`a ${form.slice(0, length + 4)} b`)).not.toContain(form.slice(4, 16))
      expect(secrets.redact(`a ${form.slice(-length)} b`)).not.toContain(form.slice(-16, -4))
    }
  })
})

test('a short one is hidden at a cut, and nothing else is', () => {
  const secrets = new Secrets()
  secrets.keep('hunter22')
  expect(secrets.redact('pw hunter2… and hunt… and hun… and hunter2 and …')).toBe(
    'pw ***… and ***… and hun… and hunter2 and …',
  )
})

test('a megabyte that is made of beginnings takes no time that anybody notices', () => {
  const secrets = new Secrets()
  secrets.keep('0123456789abcdefghij')
  for (const piece of ['0123456789ab', '…', '012…', '89abcdefghij', '0123456789abcdefghij']) {
    const began = process.cpuUsage().user
    secrets.redact(piece.repeat(1_000_000 / piece.length))
    expect((process.cpuUsage().user - began) / 1000).toBeLessThan(2000)
  }
})
