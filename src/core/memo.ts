type Entries<K, V> = Readonly<{ get(key: K): V | undefined; set(key: K, value: V): unknown }>

/** The value of `key`. When there is none yet, `make` makes it, and it is kept. */
export function getOrAdd<K, V>(entries: Entries<K, V>, key: K, make: () => V): V {
  const known = entries.get(key)
  if (known !== undefined) return known
  const made = make()
  entries.set(key, made)
  return made
}

/** As `getOrAdd`, but what fails is not kept. */
export function getOrAsk<K, T>(answers: Map<K, Promise<T>>, key: K, ask: () => Promise<T>): Promise<T> {
  return getOrAdd(answers, key, () => {
    const asked = ask()
    asked.catch(() => answers.get(key) === asked && answers.delete(key))
    return asked
  })
}

/** What one run remembers, made when it is first asked for. */
export function perRun<T>(make: () => T): (run: Readonly<{ secrets: object }>) => T {
  const made = new WeakMap<object, T>()
  return ({ secrets }) => getOrAdd(made, secrets, make)
}
