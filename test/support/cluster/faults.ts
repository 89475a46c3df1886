import { type Answer, Cut, type Handler, type Incoming, type Layer } from './http.ts'

/** Networks and servers as they are: named rules around any handler, counted each time they strike. */
export interface Rule {
  /** For `fired(name)`. */
  name?: string
  match?: Match
  do: Effect
}

export interface Match {
  method?: string | readonly string[]
  /** Tested against the path with its query, as sent. */
  path?: RegExp
  /**
   * Strikes at the n-th occasion, counted from 1, and `times` often (default: once with `nth`, always without). An
   * occasion is a request that gives the effect its chance: a body long enough to be cut, an answer below 300.
   */
  nth?: number
  times?: number
  /** Sleeps until the server has seen this many requests. */
  afterRequests?: number
  when?: (request: Incoming) => boolean
}

export type Effect =
  /** The connection ends after so many bytes of the answer's body, which has more; an answer without body is lost. */
  | { kind: 'cut-response'; after: number }
  /** The connection ends once so many bytes of the request's body have reached the server. */
  | { kind: 'cut-request'; after: number }
  /** The fault answers; nothing reaches the server. */
  | { kind: 'status'; status: number; headers?: Record<string, string>; body?: string }
  /** The server stops taking the request's body after so many bytes; the connection stays open. */
  | { kind: 'stall-request'; after: number }
  /** The answer stops after so many bytes of its body, or, without `after`, never begins; the connection stays open. */
  | { kind: 'stall-response'; after?: number }
  /** This byte of the answer's body is another one. */
  | { kind: 'corrupt'; at: number }
  | { kind: 'latency'; ms: number }
  /** The request waits until this is done: a change by another client at this moment. */
  | { kind: 'meanwhile'; do: () => unknown }
  /** The same between the deed and its answer. */
  | { kind: 'afterwards'; do: () => unknown }
  /** 307 to the same path and query elsewhere; `to` is `scheme://host:port`. */
  | { kind: 'redirect'; to: string; status?: number }
  /** The request is carried out, and the connection ends before a byte of the answer. */
  | { kind: 'lose-answer' }
  /** The request is carried out, and this is answered. */
  | { kind: 'other-answer'; status: number; headers?: Record<string, string>; body?: string | Uint8Array }
  /** Headers of the answer changed or (undefined) removed. */
  | { kind: 'headers'; headers: Record<string, string | undefined> }

export interface Fault {
  /** How often it struck. */
  readonly fired: number
  remove(): void
}

export interface Faults {
  add(rule: Rule): Fault
  /** How often rules of this name (all rules without a name) ever struck, removed ones included. */
  fired(name?: string): number
  clear(): void
  readonly layer: Layer
}

interface Active {
  readonly rule: Rule
  occasions: number
  fired: number
}

export function createFaults(): Faults {
  const ever: Active[] = []
  let active: Active[] = []
  let requests = 0
  return {
    add(rule) {
      const added: Active = { rule, occasions: 0, fired: 0 }
      ever.push(added)
      active.push(added)
      return {
        get fired() {
          return added.fired
        },
        remove: () => {
          active = active.filter((other) => other !== added)
        },
      }
    },
    fired: (name) =>
      ever.filter(({ rule }) => name === undefined || rule.name === name).reduce((sum, { fired }) => sum + fired, 0),
    clear() {
      active = []
    },
    layer: (next) => async (request) => {
      requests++
      const chosen = active.filter(({ rule }) => matches(rule.match ?? {}, request, requests))
      return chosen.reduceRight((inner, one) => behave(one.rule.do, () => strikes(one), inner), next)(request)
    },
  }
}

function matches(match: Match, request: Incoming, requests: number): boolean {
  const methods = match.method === undefined ? undefined : [match.method].flat()
  return (
    requests > (match.afterRequests ?? 0) &&
    (methods?.includes(request.method) ?? true) &&
    (match.path === undefined || request.target.search(match.path) >= 0) &&
    (match.when?.(request) ?? true)
  )
}

/** Counts the occasion. */
function strikes(active: Active): boolean {
  const { nth = 1, times = active.rule.match?.nth === undefined ? Number.POSITIVE_INFINITY : 1 } =
    active.rule.match ?? {}
  active.occasions++
  const strikes = active.occasions >= nth && active.occasions < nth + times
  if (strikes) active.fired++
  return strikes
}

function behave(effect: Effect, strikes: () => boolean, next: Handler): Handler {
  switch (effect.kind) {
    case 'cut-request':
    case 'stall-request':
      return (request) => {
        const end = effect.kind === 'cut-request' ? cut : () => silence(request)
        return next({ ...request, body: interrupted(request.body, effect.after, 'at', strikes, end) })
      }
    case 'status':
      return async (request) => {
        if (!strikes()) return next(request)
        const { status, headers, body } = effect
        return { status, ...(headers && { headers }), ...(body !== undefined && { body }) }
      }
    case 'redirect':
      return async (request) => {
        if (!strikes()) return next(request)
        return { status: effect.status ?? 307, headers: { Location: `${effect.to}${request.target}` } }
      }
    case 'meanwhile':
      return async (request) => {
        if (strikes()) await effect.do()
        return next(request)
      }
    case 'afterwards':
      return async (request) => {
        const answer = await next(request)
        if (strikes()) await effect.do()
        return answer
      }
    case 'latency':
      return async (request) => {
        if (strikes()) await new Promise((done) => setTimeout(done, effect.ms))
        return next(request)
      }
    default:
      return async (request) => {
        const answer = await next(request)
        return answer.status < 300 ? spoil(effect, strikes, request, answer) : answer
      }
  }
}

type OnAnswer = Exclude<
  Effect,
  { kind: 'cut-request' | 'stall-request' | 'status' | 'redirect' | 'latency' | 'meanwhile' | 'afterwards' }
>

async function spoil(effect: OnAnswer, strikes: () => boolean, request: Incoming, answer: Answer): Promise<Answer> {
  switch (effect.kind) {
    case 'lose-answer':
      return strikes() ? cut() : answer
    case 'other-answer': {
      if (!strikes()) return answer
      const { status, headers = {}, body = '' } = effect
      return { status, headers, body }
    }
    case 'headers': {
      if (!strikes()) return answer
      const changed = Object.entries({ ...answer.headers, ...effect.headers })
      return { ...answer, headers: Object.fromEntries(changed.filter(([, value]) => value !== undefined)) as never }
    }
    case 'cut-response':
    case 'stall-response': {
      const end = effect.kind === 'cut-response' ? cut : () => silence(request)
      const bodiless = request.method === 'HEAD' || (answer.body ?? '') === ''
      if (bodiless || effect.after === undefined) return strikes() ? end() : answer
      return streamed(answer, (body) => interrupted(body, effect.after ?? 0, 'beyond', strikes, end))
    }
    case 'corrupt':
      return request.method === 'HEAD' ? answer : streamed(answer, (body) => corrupted(body, effect.at, strikes))
  }
}

function cut(): never {
  throw new Cut()
}

async function silence(request: Incoming): Promise<never> {
  if (!request.signal.aborted) await new Promise((done) => request.signal.addEventListener('abort', done))
  throw new Cut()
}

/** Keeps the length that the answer promised. */
function streamed(answer: Answer, change: (body: AsyncIterable<Uint8Array>) => AsyncIterable<Uint8Array>): Answer {
  const { body = '' } = answer
  if (typeof body !== 'string' && !(body instanceof Uint8Array)) return { ...answer, body: change(body) }
  const bytes = Buffer.from(body)
  return {
    ...answer,
    headers: { ...answer.headers, 'Content-Length': String(bytes.length) },
    body: change(once(bytes)),
  }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}

/** Ends after `after` bytes: `at` them, or only when there is something `beyond` them. */
async function* interrupted(
  body: AsyncIterable<Uint8Array>,
  after: number,
  where: 'at' | 'beyond',
  strikes: () => boolean,
  end: () => Promise<never> | never,
): AsyncGenerator<Uint8Array> {
  let passed = 0
  let decided = false
  if (after === 0 && where === 'at') {
    decided = true
    if (strikes()) await end()
  }
  for await (const chunk of body) {
    const reached = passed + chunk.length >= after + (where === 'beyond' ? 1 : 0)
    if (!decided && reached) {
      decided = true
      if (strikes()) {
        if (after > passed) yield chunk.subarray(0, after - passed)
        await end()
      }
    }
    passed += chunk.length
    yield chunk
  }
}

async function* corrupted(body: AsyncIterable<Uint8Array>, at: number, strikes: () => boolean) {
  let passed = 0
  for await (const chunk of body) {
    const inside = at >= passed && at < passed + chunk.length
    if (inside && strikes()) {
      const copy = Buffer.from(chunk)
      copy.writeUInt8(copy.readUInt8(at - passed) ^ 0xff, at - passed)
      yield copy
    } else yield chunk
    passed += chunk.length
  }
}
