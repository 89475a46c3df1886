/**
 * The scopes of a token: what the request needs, most important first (some services read only the first one), then what
 * the challenge asks for beyond that.
 */
export function mergeScopes(wanted: readonly string[], asked: readonly string[]): readonly string[] {
  const all = [...wanted]
  for (const scope of asked) if (!all.some((one) => covers(one, scope))) all.push(scope)
  return all
}

/** `scope="repository:a:pull,push repository:b:pull"` of a challenge (distribution docs "token scope"). */
export function splitScopes(text: string | undefined): readonly string[] {
  return (text ?? '')
    .split(' ')
    .filter((scope) => scope !== '')
    .slice(0, 16)
}

/** `repository:a:pull,push` covers `repository:a:pull`. The name may hold a colon (host:port). */
function covers(one: string, other: string): boolean {
  const [mine, theirs] = [split(one), split(other)]
  return mine.resource === theirs.resource && theirs.actions.every((action) => mine.actions.includes(action))
}

function split(scope: string): { resource: string; actions: readonly string[] } {
  const colon = scope.lastIndexOf(':')
  return { resource: scope.slice(0, colon), actions: scope.slice(colon + 1).split(',') }
}
