/** Bytes from a socket without an allocation for each read. */
import type { Socket } from 'node:net'

/**
 * All sockets read into this, one after the other; what is not taken at once is copied. Otherwise Node allocates 64 KiB
 * for each read of a plain socket and 16 KiB for each record of a TLS socket, outside of V8's heap: a GiB of them made
 * V8 mark its whole heap forty times, a quarter of the run's CPU, and cost 60 MiB of memory.
 */
const BUFFER = Buffer.allocUnsafeSlow(256 * 1024)

/** What has arrived and was not taken, oldest first. */
type Waiting = { chunks: Uint8Array[]; telling: boolean }

const waiting = new WeakMap<Socket, Waiting>()

/**
 * For `net.connect` and `tls.connect`: https://nodejs.org/api/net.html#new-netsocketoptions. The bytes go past the
 * stream, so `read` and `unshift`, which are all that undici's HTTP/1.1 client reads with, are those of `adopt`.
 */
export const onread = {
  buffer: BUFFER,
  callback(this: Socket, size: number): boolean {
    return receive(this, BUFFER.subarray(0, size))
  },
}

/** @returns false to stop reading until all that waits was taken. */
function receive(socket: Socket, chunk: Uint8Array): boolean {
  const state = waiting.get(socket) ?? adopt(socket)
  if (state.telling || state.chunks.length > 0) {
    state.chunks.push(Buffer.from(chunk))
    return false
  }
  state.chunks.push(chunk)
  state.telling = true
  socket.emit('readable')
  state.telling = false
  state.chunks = state.chunks.map((left) => (left.buffer === BUFFER.buffer ? Buffer.from(left) : left))
  return state.chunks.length === 0
}

function adopt(socket: Socket): Waiting {
  const state: Waiting = { chunks: [], telling: false }
  waiting.set(socket, state)
  const read = socket.read.bind(socket)
  // Node asks for 0 bytes when the other side has closed: that is not told before the rest was taken.
  socket.read = (size?: number) => {
    if (state.chunks.length === 0) return read(size)
    return size === 0 ? null : state.chunks.shift()
  }
  socket.unshift = (chunk: Uint8Array) => {
    if (chunk.byteLength > 0) state.chunks.unshift(chunk)
  }
  return state
}
