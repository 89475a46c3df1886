import { spawn } from 'node:child_process'
import { BUNDLE } from '../run.ts'
import { COLUMNS, ESCAPE } from './terminal-picture.ts'

/** @returns what the bundle prints on a terminal of 80 columns, with all that it erases again. */
export async function onTerminal(
  argv: readonly string[],
  env: Readonly<Record<string, string>>,
  cwd: string,
): Promise<string> {
  const words = [process.execPath, BUNDLE, ...argv].map((word) => `'${word}'`).join(' ')
  const command = `stty cols ${COLUMNS} rows 40; exec ${words}`
  const { PATH = '' } = process.env
  const child = spawn('script', ['--quiet', '--return', '--command', command, '/dev/null'], {
    cwd,
    env: { PATH, HOME: cwd, TERM: 'xterm-256color', ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let text = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk
  })
  const code = await new Promise((resolve, reject) => child.once('error', reject).once('close', resolve))
  if (code !== 0) throw new Error(`ended with ${code}:\n${text}`)
  return text.replaceAll('\r', '')
}

/** The screen at the last moment at which most images were on their way, each with its rate. */
export function fullestFrame(printed: string): string {
  const screens: string[][] = []
  let lines: string[] = []
  // Up by so many lines, and erase from there: what the program uses to draw again.
  for (const [index, part] of printed.split(new RegExp(`${ESCAPE}\\[(\\d+)F${ESCAPE}\\[J`)).entries()) {
    if (index % 2 === 1) lines = lines.slice(0, lines.length - Number(part))
    else lines = [...lines, ...part.split('\n').slice(0, -1)]
    screens.push(lines)
  }
  const rates = (screen: readonly string[]) => screen.filter((line) => /[█░].*B\/s/u.test(line)).length
  const most = Math.max(...screens.map(rates))
  return (screens.filter((screen) => rates(screen) === most).at(-1) ?? []).join('\n')
}
