/**
 * On which mount a path lies, and whether file locks work across it: whether a lock that a process takes on one side is
 * seen by one on the other.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { SystemCalls } from "./SystemCalls.js"

/**
 * @since 0.1.0
 * @category models
 */
export type Locks = "shared" | "not-shared" | "unknown"

/**
 * - `mountPoint`: where it is mounted
 * - `type`: of the file system, such as `ext4` or `fuse.bindfs`
 * - `source`: what is mounted, such as `/dev/vda1`
 * - `device`: its number, such as `254:1`
 *
 * @since 0.1.0
 * @category models
 */
export interface MountPoint {
  readonly mountPoint: string
  readonly type: string
  readonly source: string
  readonly device: string
}

/**
 * What is known of file systems. `shared` are those of this machine's own kernel: everybody who reaches the files, a
 * container's bind mount too, goes through the same locks. `not-shared` are those behind which there is another
 * system, or another file system, that does not see the locks of this side; bindfs, virtiofs and 9p were measured. Of
 * network file systems it depends on the server and on the options of the mount, so they are not in the table, and
 * nor is any other type: `unknown`.
 */
const known: ReadonlyMap<string, Locks> = new Map<string, Locks>([
  ["bcachefs", "shared"],
  ["btrfs", "shared"],
  ["ext2", "shared"],
  ["ext3", "shared"],
  ["ext4", "shared"],
  ["f2fs", "shared"],
  ["jfs", "shared"],
  ["overlay", "shared"],
  ["ramfs", "shared"],
  ["tmpfs", "shared"],
  ["xfs", "shared"],
  ["zfs", "shared"],
  ["9p", "not-shared"],
  ["fakeowner", "not-shared"],
  ["fuse", "not-shared"],
  ["prl_fs", "not-shared"],
  ["vboxsf", "not-shared"],
  ["virtiofs", "not-shared"]
])

/**
 * Whether locks cross a mount of a type. FUSE says after a dot what is behind it, such as `fuse.grpcfuse`.
 *
 * @since 0.1.0
 * @category queries
 */
export const locksOf = (type: string): Locks =>
  known.get(type) ?? (type.startsWith("fuse.") ? "not-shared" : "unknown")

/** The kernel writes a blank, a tab, an end of line and a backslash as three octal digits. */
const unescape = (text: string): string =>
  text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)))

/** A line of `mountinfo`, see proc(5): `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue` */
const parseLine = (line: string): MountPoint | undefined => {
  const [, device, at, type, source] = /^\S+ \S+ (\S+) \S+ (\S+) \S+(?: \S+)*? - (\S+) (\S*)/.exec(line) ?? []
  if (device === undefined || at === undefined || type === undefined || source === undefined) return undefined
  return { device, mountPoint: unescape(at), type: unescape(type), source: unescape(source) }
}

const isWithin = (path: string, mountPoint: string): boolean =>
  path === mountPoint || path.startsWith(mountPoint.endsWith("/") ? mountPoint : `${mountPoint}/`)

/**
 * The mount on which a path lies, which is absolute and without links, by the text of `/proc/self/mountinfo`. Of two on
 * the same place the later one counts, which lies over the other.
 *
 * @since 0.1.0
 * @category queries
 */
export const find = (mountinfo: string, path: string): Option.Option<MountPoint> => {
  let best: MountPoint | undefined
  for (const line of mountinfo.split("\n")) {
    const mount = parseLine(line)
    if (mount === undefined || !isWithin(path, mount.mountPoint)) continue
    if (best === undefined || mount.mountPoint.length >= best.mountPoint.length) best = mount
  }
  return Option.fromNullable(best)
}

const table = "/proc/self/mountinfo"

/** More than any table that a system has. */
const tableBytes = 16 * 1024 * 1024

/**
 * The mount on which a path lies, or none where the system does not tell.
 *
 * @since 0.1.0
 * @category queries
 */
export const of = (path: string): Effect.Effect<Option.Option<MountPoint>, never, SystemCalls> =>
  Effect.gen(function* () {
    const calls = yield* SystemCalls
    const fd = yield* Effect.acquireRelease(calls.open(table, 0), calls.close)
    const pieces: Array<Uint8Array> = []
    let length = 0
    while (length < tableBytes) {
      const piece = Buffer.allocUnsafe(64 * 1024)
      const count = yield* calls.read(fd, piece, length)
      if (count === 0) break
      pieces.push(piece.subarray(0, count))
      length += count
    }
    return find(Buffer.concat(pieces).toString("utf8"), path)
  }).pipe(
    Effect.scoped,
    Effect.orElseSucceed(() => Option.none())
  )
