/** Searches all that was produced for a secret, as an attacker would. */

/** So many characters of it in a row are a find, so that a secret that was cut is found too. */
const WINDOW = 12

/** @returns `where: how`, once for each secret and view; the secret is not in it, because a test would print it. */
export function leaks(produced: Readonly<Record<string, string>>, secrets: Iterable<string>): string[] {
  const wanted = [...new Set(secrets)].map((secret, index) => ({ index, pieces: piecesOf(secret) }))
  return Object.entries(produced).flatMap(([where, text]) =>
    Object.entries(viewsOf(text)).flatMap(([how, view]) =>
      wanted
        .filter(({ pieces }) => pieces.some((piece) => view.includes(piece)))
        .map(({ index }) => `${where}: secret ${index}, ${how}`),
    ),
  )
}

function piecesOf(secret: string): string[] {
  const last = Math.max(0, secret.length - WINDOW)
  return Array.from({ length: last + 1 }, (_, at) => secret.slice(at, at + WINDOW))
}

function viewsOf(text: string): Record<string, string> {
  const spelled = text.replace(/\\u([0-9a-f]{4})/gi, (_, code) => String.fromCharCode(Number.parseInt(code, 16)))
  return {
    plain: text,
    'JSON-encoded': spelled.replace(/\\(["\\/])/g, '$1'),
    'URL-encoded': percentDecoded(text),
    'form-encoded': percentDecoded(text.replaceAll('+', ' ')),
    base64: base64Decoded(text),
  }
}

function percentDecoded(text: string): string {
  return text.replace(/(?:%[0-9a-f]{2})+/gi, (run) => Buffer.from(run.replaceAll('%', ''), 'hex').toString('utf8'))
}

/** Every run of base64 or base64url, from each of the four places where a group can begin. */
function base64Decoded(text: string): string {
  const runs = text.match(/[A-Za-z0-9+/_-]{8,}/g) ?? []
  return runs
    .flatMap((run) => [0, 1, 2, 3].map((at) => Buffer.from(run.slice(at), 'base64').toString('utf8')))
    .join('\n')
}
