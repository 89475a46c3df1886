/** PEM texts (RFC 7468), which lose their line ends on the way through variables, YAML, JSON and web forms. */

const BLOCK = /-----BEGIN ([A-Z0-9 ]{1,40})-----((?:(?!-----)[\s\S])*)-----END \1-----/g
/** Line ends of every kind, also where they are written as `\n`, and blanks in their place. */
const BREAKS = /(?:\\{1,8}[nr]|\s)+/g

/**
 * The blocks of one kind with 64 characters a line, as OpenSSL reads them. Text around them is left out.
 * @param label the last words of the first line: `CERTIFICATE`, `PRIVATE KEY`.
 */
export function pemBlocks(text: string, label: string): string[] {
  return [...text.matchAll(BLOCK)].flatMap(([, name = '', body = '']) => {
    if (!name.endsWith(label)) return []
    // The headers of an encrypted key (RFC 1421) are lines of their own.
    const lines = body.includes(':') ? [body.trim()] : (body.replace(BREAKS, '').match(/.{1,64}/g) ?? [])
    return [[`-----BEGIN ${name}-----`, ...lines, `-----END ${name}-----`, ''].join('\n')]
  })
}
