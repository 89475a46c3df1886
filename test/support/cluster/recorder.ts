import type { RequestListener, ServerResponse } from 'node:http'

/** `sso` is the proxy of a RequestHeader identity provider, on a host of its own. */
export type ServerName = 'api' | 'oauth' | 'registry' | 'sso'

/** One request, in order of arrival. `path` includes the query; `status` is 0 until headers were sent. */
export interface Recorded {
  readonly server: ServerName
  readonly method: string
  readonly path: string
  readonly authorization: 'none' | 'basic' | 'bearer' | 'other'
  status: number
}

export interface Recorder {
  readonly requests: Recorded[]
  /** Requests that no server implements. A test that leaves anything here has met the limits of the emulator. */
  readonly unexpected: string[]
  /** Records every request that passes, also those that a fault layer inside `listener` answers or cuts. */
  watch(server: ServerName, listener: RequestListener): RequestListener
  /** Notes an unimplemented request; the caller still answers it. */
  refuse(server: ServerName, request: Readonly<{ method?: string; url?: string; path?: string }>, why?: string): void
}

export function createRecorder(): Recorder {
  const requests: Recorded[] = []
  const unexpected: string[] = []
  return {
    requests,
    unexpected,
    watch: (server, listener) => (req, res) => {
      const entry: Recorded = {
        server,
        method: req.method ?? '',
        path: req.url ?? '',
        authorization: scheme(req.headers.authorization),
        status: 0,
      }
      requests.push(entry)
      noteStatus(entry, res)
      listener(req, res)
    },
    refuse: (server, { method, url, path }, why) => {
      unexpected.push(`${server}: ${method} ${path ?? url}${why ? ` (${why})` : ''}`)
    },
  }
}

/** Also implicit headers pass through `writeHead`, so the status is known before the client can see the answer. */
function noteStatus(entry: Recorded, res: ServerResponse): void {
  const writeHead = res.writeHead
  res.writeHead = ((status: number, ...rest: never[]) => {
    entry.status = status
    return writeHead.call(res, status, ...rest)
  }) as typeof res.writeHead
}

function scheme(authorization: string | undefined): Recorded['authorization'] {
  if (!authorization) return 'none'
  const name = authorization.split(' ', 1)[0]?.toLowerCase()
  return name === 'basic' || name === 'bearer' ? name : 'other'
}
