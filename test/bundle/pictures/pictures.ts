import { takeLiveShot, takeShots } from './scenes.ts'
import { summaryPicture } from './summary-picture.ts'
import { terminalPicture } from './terminal-picture.ts'

export type Picture = Readonly<{ file: string; svg: string }>

export async function pictures(): Promise<Picture[]> {
  const shots = await takeShots()
  return shots.flatMap(({ name, command, log, summary }) => [
    { file: `docs/images/terminal-${name}.svg`, svg: terminalPicture(`Terminal: ${name}`, command, log) },
    { file: `docs/images/summary-${name}.svg`, svg: summaryPicture(`Job summary: ${name}`, summary) },
  ])
}

/** Needs `script` of util-linux, which gives the program a terminal. */
export async function livePicture(): Promise<Picture> {
  const { name, command, log } = await takeLiveShot()
  return { file: `docs/images/terminal-${name}.svg`, svg: terminalPicture(`Terminal: ${name}`, command, log) }
}
