/** Node's hook for what a name in an `import` stands for. The module of that name throws an error outside of Jest's own loader. */

type Resolved = Readonly<{ url: string; shortCircuit?: boolean }>
type Next<T> = (specifier: string, context: unknown) => T

const GLOBALS = new URL('./globals.js', import.meta.url).href

export function resolve<T>(specifier: string, context: unknown, next: Next<T>): T | Resolved {
  return specifier === '@jest/globals' ? { url: GLOBALS, shortCircuit: true } : next(specifier, context)
}
