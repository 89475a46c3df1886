/**
 * Secret values. A `Secret` prints as `***`. `reveal()` is called only where the value is sent to a server or to the
 * standard input of a program, and where its spelling is checked. `Secrets` knows all secrets of a run and removes them from log lines, reports and errors, in
 * plain, base64, URL-encoded and JSON form.
 */

const HIDDEN = '***'

/** Characters. Shorter values also occur in other text by chance and cannot be hidden, so they are refused as inputs. */
const SHORTEST = 4
/** Characters. From this length on, a secret is also looked for inside the base64 of a longer text (`user:password`). */
const SHORTEST_INSIDE = 8
/** Characters. A shorter value may be part of an image name by chance. */
const SHORTEST_IN_NAME = 16
/** Characters. This many characters of a long secret, in a row, do not occur by chance. */
const PIECE = 12
/** Characters. A shorter value counts in an address only as a whole word: as a part of a word it may occur by chance. */
const SHORTEST_PART = 8

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
  /** Longest first, so that hiding one does not leave a part of another. */
  #sorted: readonly string[] | undefined
  #beginnings: ReadonlySet<string> | undefined
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

  /** Hides every secret, and the rest of a secret where the text was cut. */
  redact(text: string): string {
    return this.#hideBeginnings(this.#hide(text, 0))
  }

  /** Hides only long secrets: the name of an image must not change because a short secret occurs in it. */
  redactName(name: string): string {
    return this.#hide(name, SHORTEST_IN_NAME)
  }

  #hide(text: string, shortest: number): string {
    const forms = this.#longestFirst().filter((form) => form.length >= shortest)
    const clean = forms.reduce((rest, form) => rest.replaceAll(form, HIDDEN), text)
    return forms.reduce((rest, form) => (form.length < SHORTEST_IN_NAME ? rest : hidePieces(rest, form)), clean)
  }

  /** Hides the beginning of a secret, however short, before a `…`, which marks a cut. */
  #hideBeginnings(text: string): string {
    const known = this.#allBeginnings()
    return text.replace(/[^…]{4,16}(?=…)/g, (before) => {
      for (let start = 0; before.length - start >= SHORTEST; start++)
        if (known.has(before.slice(start))) return before.slice(0, start) + HIDDEN
      return before
    })
  }

  #allBeginnings(): ReadonlySet<string> {
    this.#beginnings ??= new Set(
      [...this.#forms].flatMap((form) =>
        Array.from({ length: Math.min(form.length, SHORTEST_IN_NAME) }, (_, at) => form.slice(0, at + 1)),
      ),
    )
    return this.#beginnings
  }

  /**
   * Whether an address that a server chose contains a secret. Compares without case, because host names have none.
   * @param known the address that was asked for: a secret that it contains is not counted.
   */
  isIn(text: string, known: string): boolean {
    const [within, without] = [text.toLowerCase(), known.toLowerCase()]
    return this.#longestFirst().some((each) => {
      const form = each.toLowerCase()
      return stands(form, within) && !stands(form, without)
    })
  }

  #longestFirst(): readonly string[] {
    this.#sorted ??= [...this.#forms].sort((a, b) => b.length - a.length)
    return this.#sorted
  }

  #register(form: string): void {
    if (form.trim().length < SHORTEST || this.#forms.has(form)) return
    this.#forms.add(form)
    this.#sorted = undefined
    this.#beginnings = undefined
    this.#mask(form)
  }
}

/** Hides what is left of a long secret that lost its end, then of one that lost its beginning. */
function hidePieces(text: string, form: string): string {
  const head = form.slice(0, PIECE)
  const tail = form.slice(-PIECE)
  const after = (at: number) => {
    let end = PIECE
    while (end < form.length && text[at + end] === form[end]) end++
    return [at, at + end] as const
  }
  const clean = hideEach(text, head, after)
  const before = (at: number, from: number) => {
    let start = at
    while (start > from && at - start < form.length - PIECE && clean[start - 1] === form.at(start - at - 1 - PIECE))
      start--
    return [start, at + PIECE] as const
  }
  return hideEach(clean, tail, before)
}

/** @param extent the range to hide around a match; `from` is the end of the previous range. */
function hideEach(
  text: string,
  piece: string,
  extent: (at: number, from: number) => readonly [number, number],
): string {
  let clean = ''
  let from = 0
  for (let at = text.indexOf(piece); at >= 0; at = text.indexOf(piece, from)) {
    const [start, end] = extent(at, from)
    clean += text.slice(from, start) + HIDDEN
    from = end
  }
  return from === 0 ? text : clean + text.slice(from)
}

function encodings(value: string): string[] {
  const bytes = Buffer.from(value, 'utf8')
  const base64 = [
    bytes.toString('base64'),
    ...(value.length < SHORTEST_INSIDE ? [] : [0, 1, 2].map((at) => inside(bytes, at))),
  ]
  const bare = base64.map((form) => form.replace(/(?<!=)=+$/, ''))
  const percent = [encodeURIComponent(value), new URLSearchParams([['', value]]).toString().slice(1)]
  return [
    ...base64,
    ...bare,
    ...bare.map((form) => form.replaceAll('+', '-').replaceAll('/', '_')),
    ...percent,
    ...percent.map((form) => form.replace(/%[0-9A-F]{2}/g, (code) => code.toLowerCase())),
    JSON.stringify(value).slice(1, -1),
  ]
}

function stands(form: string, text: string): boolean {
  const isLetter = (at: number): boolean => /[a-z0-9]/.test(text.charAt(at))
  for (let at = text.indexOf(form); at >= 0; at = text.indexOf(form, at + 1))
    if (form.length >= SHORTEST_PART || (!isLetter(at - 1) && !isLetter(at + form.length))) return true
  return false
}

/** Why a password or token is refused, as the end of a sentence; undefined if it can be hidden. */
export function tooShort(value: string): string | undefined {
  return value.trim().length < SHORTEST
    ? `is shorter than ${SHORTEST} characters and cannot be hidden in logs and reports`
    : undefined
}

/** The base64 characters that every text has in common that contains these bytes at an offset of 3n + `at`. */
function inside(bytes: Uint8Array, at: number): string {
  const encoded = Buffer.concat([Buffer.alloc(at), bytes]).toString('base64')
  const unknown = [0, 2, 3][at]
  return encoded.slice(unknown, Math.floor(((at + bytes.length) * 8) / 6))
}
