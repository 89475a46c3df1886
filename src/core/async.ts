import { Readable, type Transform } from 'node:stream'

/** The bytes of a blob or of a body, in chunks. */
export type ByteStream = AsyncIterable<Uint8Array>

/** A promise that is settled from outside. Its rejection is marked as handled: callers that await it still receive it. */
export type Deferred<T> = Readonly<{
  promise: Promise<T>
  resolve: (value: T | PromiseLike<T>) => void
}>

export function createDeferred<T>(): Deferred<T> {
  let resolve: Deferred<T>['resolve'] = () => undefined
  const promise = ignoreUnhandled(
    new Promise<T>((settle) => {
      resolve = settle
    }),
  )
  return { promise, resolve }
}

/** Marks the rejection as handled. Callers that await the promise still receive it. */
export function ignoreUnhandled<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined)
  return promise
}

/** What comes out of a transform. Both ends are destroyed when the reader stops early or one of them fails. */
export async function* through(body: ByteStream, transform: Transform): AsyncGenerator<Buffer, void, undefined> {
  const source = Readable.from(body)
  source.once('error', (error) => transform.destroy(error))
  try {
    yield* source.pipe(transform)
  } finally {
    source.destroy()
    transform.destroy()
  }
}

/** The result of `work`; undefined when it takes longer than so many milliseconds. The work goes on, and its failure is handled. */
export async function within<T>(work: Promise<T>, milliseconds: number): Promise<T | undefined> {
  const late = createDeferred<undefined>()
  const timer = setTimeout(() => late.resolve(undefined), milliseconds)
  return Promise.race([ignoreUnhandled(work), late.promise]).finally(() => clearTimeout(timer))
}

/** The bytes of a stream. After more than `most` bytes the rest is not read, and the stream is closed. */
export async function readAll(stream: ByteStream, most: number = Number.POSITIVE_INFINITY): Promise<Buffer> {
  const parts: Uint8Array[] = []
  let size = 0
  for await (const part of stream) {
    parts.push(part)
    size += part.byteLength
    if (size > most) break
  }
  return Buffer.concat(parts)
}

/** A stream of one chunk, or of none for an empty content. */
export async function* bodyOf(content: Uint8Array): AsyncGenerator<Uint8Array> {
  if (content.byteLength > 0) yield content
}
