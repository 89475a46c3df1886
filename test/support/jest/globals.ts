/** What `@jest/globals` is to the test files and what they import: the functions of the file that runs now. */

type Globals = Record<
  'afterAll' | 'afterEach' | 'beforeAll' | 'beforeEach' | 'describe' | 'expect' | 'it' | 'jest' | 'test',
  unknown
>

export let afterAll: unknown
export let afterEach: unknown
export let beforeAll: unknown
export let beforeEach: unknown
export let describe: unknown
export let expect: unknown
export let it: unknown
export let jest: unknown
export let test: unknown

export function useGlobals(globals: Globals): void {
  ;({ afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, jest, test } = globals)
}
