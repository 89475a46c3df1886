import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { readlink, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from '@jest/globals'
import { append, listFiles, readInput, writeWhole } from '../../../src/core/files.ts'
import { inFolder } from './sample.ts'

describe('reading an input file', () => {
  it('returns its text, of up to 1 MiB', () =>
    inFolder((folder) => {
      const path = join(folder, 'f')
      writeFileSync(path, 'größe\n')
      expect(readInput(path)).toBe('größe\n')
      writeFileSync(path, 'x'.repeat(1024 * 1024))
      expect(readInput(path)).toHaveLength(1024 * 1024)
      writeFileSync(path, 'x'.repeat(1024 * 1024 + 1))
      expect(() => readInput(path)).toThrow('it is larger than 1 MiB')
    }))

  it('says why it cannot, without the path', () =>
    inFolder((folder) => {
      expect(() => readInput(join(folder, 'absent'))).toThrow(/^no such file or folder$/)
      expect(() => readInput(folder)).toThrow(/^(it is a folder|permission denied)$/)
    }))
})

describe('listing a mounted Secret', () => {
  it('gives the files and not the folders that Kubernetes keeps versions in', () =>
    inFolder((folder) => {
      mkdirSync(join(folder, '..2026_11_22'))
      mkdirSync(join(folder, 'sub'))
      for (const name of ['token', '.dockerconfigjson', '..hidden', 'ca.crt']) writeFileSync(join(folder, name), '')
      expect(listFiles(folder)).toEqual(['.dockerconfigjson', 'ca.crt', 'token'])
    }))
})

describe('writing a file as a whole', () => {
  it('replaces the old text, makes folders on the way and leaves nothing beside it', () =>
    inFolder(async (folder) => {
      const path = join(folder, 'a', 'b', 'report.json')
      await writeWhole(path, 'one')
      await writeWhole(path, 'two')
      expect(readFileSync(path, 'utf8')).toBe('two')
      expect(readdirSync(join(folder, 'a', 'b'))).toEqual(['report.json'])
    }))

  it('follows a link instead of replacing it', () =>
    inFolder(async (folder) => {
      writeFileSync(join(folder, 'real'), 'old')
      await symlink(join(folder, 'real'), join(folder, 'link'), 'file')
      await writeWhole(join(folder, 'link'), 'new')
      expect(readFileSync(join(folder, 'real'), 'utf8')).toBe('new')
      expect(await readlink(join(folder, 'link'))).toBe(join(folder, 'real'))
    }))

  it('fails with IO and keeps what is there', () =>
    inFolder(async (folder) => {
      mkdirSync(join(folder, 'taken'))
      await expect(writeWhole(join(folder, 'taken'), 'x')).rejects.toMatchObject({ code: 'IO' })
      writeFileSync(join(folder, 'file'), 'kept')
      await expect(writeWhole(join(folder, 'file', 'below'), 'x')).rejects.toMatchObject({ code: 'IO' })
      await expect(append(join(folder, 'absent', 'file'), 'x')).rejects.toMatchObject({ code: 'IO' })
      expect(readdirSync(folder).sort()).toEqual(['file', 'taken'])
      expect(readFileSync(join(folder, 'file'), 'utf8')).toBe('kept')
    }))

  it('appends after what is there', () =>
    inFolder(async (folder) => {
      writeFileSync(join(folder, 'summary'), 'one\n')
      await append(join(folder, 'summary'), 'two\n')
      expect(readFileSync(join(folder, 'summary'), 'utf8')).toBe('one\ntwo\n')
    }))
})
