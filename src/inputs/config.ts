import type { Digest } from '../oci/digest.ts'
import type { Platform } from '../oci/platform.ts'
import type { Reference } from '../oci/reference.ts'
import type { ApprovedImage, ApprovedPlan } from '../trust/approved-plan.ts'
import type { Undo } from './rollback-report.ts'
import type { RunOptions } from './run-options.ts'
import type { SideConfig } from './side.ts'
import type { Selection } from './tag-selection.ts'

export type Config = RunOptions &
  Readonly<{
    images: readonly ImagePair[]
    sets: readonly ImageSet[] // images whose tags are known only when the source was asked
    rollback: readonly Undo[] | undefined // instead of images: the tags of an earlier promotion that go back
    history: readonly Reference[] // instead of images: what is promoted already, and whose records are read
    plan?: Readonly<Pick<ApprovedPlan, 'digest' | 'policy'>> | undefined // the approved plan that the images come from
    source: SideConfig
    destinations: readonly SideConfig[] // at least one
    additionalTags: readonly string[]
    /** What to write if the second of two images was meant as the destination of the first. */
    suggestion: string | undefined
  }>

/** One line of `images`, or entry of the list: the destination always has a tag and never a digest. */
export type ImagePair = Readonly<{
  source: Reference
  destination: Reference & Readonly<{ tag: string }>
  platforms?: readonly Platform[] | undefined // instead of those of the run
  expectCurrent?: Digest | 'absent' | undefined // where the tag has to be before it moves
  approved?: ReadonlyMap<string, ApprovedImage> | undefined // of an approved plan, by the names of the destinations
}>

/** Many tags of one repository, or of all those that `*` in its name stands for. Neither reference has a digest. */
export type ImageSet = Readonly<{
  source: Reference
  destination: Reference // with a tag only where the selection names a single one, which gets that name
  select: Selection
  exclude?: readonly string[] | undefined // globs: NAME of repositories, :TAG or NAME:TAG of tags
  platforms?: readonly Platform[] | undefined
}>
