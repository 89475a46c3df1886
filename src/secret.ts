/**
 * Values that must never be seen. A `Secret` prints as `***` whatever prints it; `reveal()` is called only where the
 * value goes on the wire or to a helper's stdin. `Secrets` knows every secret of a run, so that a log line, report or
 * error that quotes a server can be cleaned of them, in plain, base64 and URL-encoded form.
 */

const HIDDEN = '***'

/** Shorter values would blank out innocent text; GitHub's own masking has the same limit in effect. */
const SHORTEST = 4

export class Secret {
  readonly #value: string

  constructor(value: string) {
    this.#value = value
  }

  reveal(): string {
    return this.#value
  }

  toString(): string {
    return HIDDEN
  }

  toJSON(): string {
    return HIDDEN
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return HIDDEN
  }
}

export class Secrets {
  readonly #forms = new Set<string>()
  readonly #mask: (value: string) => void

  /** @param mask called with each new form before the secret is handed out (GitHub's `::add-mask::`). */
  constructor(mask: (value: string) => void = () => undefined) {
    this.#mask = mask
  }

  /** Registers a value and returns it wrapped. Multi-line values are registered line by line as well. */
  keep(value: string): Secret {
    for (const part of new Set([value, ...value.split(/\r?\n/)])) {
      for (const form of [part, ...encodings(part)]) this.#register(form)
    }
    return new Secret(value)
  }

  /** `user:password` as Basic sends it: its base64 is a secret of its own. */
  keepPair(user: string, password: Secret): Secret {
    const pair = `${user}:${password.reveal()}`
    const encoded = Buffer.from(pair, 'utf8').toString('base64')
    this.#register(encoded)
    return new Secret(encoded)
  }

  redact(text: string): string {
    let clean = text
    for (const form of [...this.#forms].sort((a, b) => b.length - a.length)) clean = clean.replaceAll(form, HIDDEN)
    return clean
  }

  #register(form: string): void {
    if (form.trim().length < SHORTEST || this.#forms.has(form)) return
    this.#forms.add(form)
    this.#mask(form)
  }
}

function encodings(value: string): string[] {
  const base64 = Buffer.from(value, 'utf8').toString('base64')
  return [
    base64,
    base64.replace(/=+$/, ''),
    base64.replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, ''),
    encodeURIComponent(value),
    JSON.stringify(value).slice(1, -1),
  ]
}
