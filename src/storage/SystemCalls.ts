/**
 * The operating system's file calls that the library makes on anything that another party can touch. They
 * are a service, so that a test can make any of them fail, or stop the process at it.
 *
 * `@effect/platform`'s `FileSystem` has no `lstat`, no `O_NOFOLLOW` and no directory descriptors, which is
 * what safety needs here. Calls on metadata are synchronous, because a few microseconds of work are not
 * worth a thread; `sync` waits for the disk and is not.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Fs from "node:fs"

/**
 * A call that failed. `code` is the operating system's, such as `ENOENT`.
 *
 * @since 0.1.0
 * @category errors
 */
export class SystemCallError extends Data.TaggedError("SystemCallError")<{
  readonly call: string
  readonly code: string
}> {
  override get message(): string {
    return `${this.call}: ${this.code}`
  }
}

type Call<A> = Effect.Effect<A, SystemCallError>

/**
 * What the system says of a name, as plain numbers.
 *
 * @since 0.1.0
 * @category models
 */
export type Glance = Pick<Fs.Stats, "ino" | "mode" | "size" | "mtimeMs" | "ctimeMs">

/**
 * What there is of a name that nothing has.
 *
 * @since 0.1.0
 * @category models
 */
export const nothing: Glance = { ino: 0, mode: 0, size: 0, mtimeMs: 0, ctimeMs: 0 }

/**
 * Whether a name is a directory's own, and no link to one.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isDirectory = ({ mode }: Glance): boolean =>
  (mode & Fs.constants.S_IFMT) === Fs.constants.S_IFDIR

/**
 * What a file had, and what the system said of it, while nobody wrote to it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Quiet {
  readonly bytes: Buffer
  readonly stats: Fs.BigIntStats
}

/**
 * @since 0.1.0
 * @category tags
 */
export class SystemCalls extends Context.Tag("effect-airlock/SystemCalls")<
  SystemCalls,
  {
    /** Where the system shows open descriptors as paths: `/proc/self/fd` on Linux, nowhere else. */
    readonly descriptors: string | undefined
    readonly open: (path: string, flags: number, mode?: number) => Call<number>
    readonly close: (fd: number) => Effect.Effect<void>
    readonly fstat: (fd: number) => Call<Fs.BigIntStats>
    readonly lstat: (path: string) => Call<Fs.BigIntStats>
    /**
     * What a name looks like, or `nothing`; undefined if it cannot be told. It follows no link, and throws nothing. Not an
     * effect, because that costs several times what the call does, and it is asked of all sessions again and again.
     */
    readonly glance: (path: string) => Glance | undefined
    /**
     * The bytes of a regular file with one link, in a directory that is no link, if nobody wrote to it meanwhile and there
     * was nothing named `journal` beside it; undefined otherwise, and if it has more than `atMost` bytes or anything
     * fails. Like `glance`, for what is done for each message.
     */
    readonly readQuiet: (
      directory: string,
      name: string,
      journal: string,
      atMost: number
    ) => Quiet | undefined
    /** Milliseconds of a clock that only goes on, and that nobody sets. Goes with `glance`. */
    readonly uptime: () => number
    readonly realpath: (path: string) => Call<string>
    /** Fails with the reason why nothing could be written there, such as `EROFS`. */
    readonly checkWritable: (path: string) => Call<void>
    /** Reads at `position` into `buffer`; the number of bytes read, 0 at the end. */
    readonly read: (fd: number, buffer: Uint8Array, position: number) => Call<number>
    /** Writes all of `bytes` at `position`. */
    readonly write: (fd: number, bytes: Uint8Array, position: number) => Call<void>
    /** Waits until what was written is on the disk. */
    readonly sync: (fd: number) => Call<void>
    /**
     * The names in a directory, `atMost` so many of them. One that is no UTF-8 cannot be told from others; see
     * `nameAsText`.
     */
    readonly list: (path: string, atMost?: number) => Call<ReadonlyArray<string>>
    /** Gives what is in a directory under a name that is no UTF-8 another name. */
    readonly nameAsText: (path: string) => Call<void>
    readonly makeDirectory: (path: string) => Call<void>
    /** Makes a directory and those above it, where they are missing. */
    readonly makePath: (path: string) => Call<void>
    readonly removeDirectory: (path: string) => Call<void>
    readonly unlink: (path: string) => Call<void>
    readonly link: (from: string, to: string) => Call<void>
    readonly rename: (from: string, to: string) => Call<void>
    readonly chown: (fd: number, uid: number, gid: number) => Call<void>
    /** Sets the access and modification times, in milliseconds since 1970. */
    readonly setTimes: (fd: number, millis: number) => Call<void>
  }
>() {
  /**
   * @since 0.1.0
   */
  static readonly layer: Layer.Layer<SystemCalls> = Layer.sync(SystemCalls, () => ({
    descriptors,
    open: (path, flags, mode) => attempt("open", () => Fs.openSync(path, flags, mode)),
    close: (fd) => Effect.sync(() => Fs.closeSync(fd)),
    fstat: (fd) => attempt("fstat", () => Fs.fstatSync(fd, { bigint: true })),
    lstat: (path) => attempt("lstat", () => Fs.lstatSync(path, { bigint: true })),
    checkWritable: (path) => attempt("access", () => Fs.accessSync(path, Fs.constants.W_OK)),
    glance: (path) => {
      try {
        return Fs.lstatSync(path, { throwIfNoEntry: false }) ?? nothing
      } catch {
        return undefined
      }
    },
    readQuiet: readQuietBy(Fs),
    uptime: () => performance.now(),
    realpath: (path) => attempt("realpath", () => Fs.realpathSync.native(path)),
    read: (fd, buffer, position) =>
      attempt("read", () => Fs.readSync(fd, buffer, 0, buffer.byteLength, position)),
    write: (fd, bytes, position) =>
      attempt("write", () => {
        for (let written = 0; written < bytes.byteLength;) {
          written += Fs.writeSync(fd, bytes, written, bytes.byteLength - written, position + written)
        }
      }),
    sync: (fd) =>
      Effect.async((resume) =>
        Fs.fsync(fd, (cause) => resume(cause === null ? Effect.void : Effect.fail(failed("fsync", cause))))
      ),
    list: (path, atMost) =>
      attempt("readdir", () => (atMost === undefined ? Fs.readdirSync(path) : firstNames(path, atMost))),
    nameAsText: (path) =>
      attempt("rename", () => {
        for (const [index, name] of Fs.readdirSync(path, "buffer").entries()) {
          if (Buffer.from(name.toString()).equals(name)) continue
          const from = Buffer.concat([Buffer.from(`${path}/`), name])
          Fs.renameSync(from, `${path}/airlock-${index}-${name.toString("hex", 0, 100)}`)
        }
      }),
    makeDirectory: (path) => attempt("mkdir", () => Fs.mkdirSync(path)),
    makePath: (path) => attempt("mkdir", () => void Fs.mkdirSync(path, { recursive: true })),
    removeDirectory: (path) => attempt("rmdir", () => Fs.rmdirSync(path)),
    unlink: (path) => attempt("unlink", () => Fs.unlinkSync(path)),
    link: (from, to) => attempt("link", () => Fs.linkSync(from, to)),
    rename: (from, to) => attempt("rename", () => Fs.renameSync(from, to)),
    chown: (fd, uid, gid) => attempt("fchown", () => Fs.fchownSync(fd, uid, gid)),
    setTimes: (fd, millis) => attempt("futimes", () => Fs.futimesSync(fd, millis / 1000, millis / 1000))
  }))
}

const failed = (call: string, cause: unknown): SystemCallError =>
  new SystemCallError({
    call,
    code: cause instanceof Error && "code" in cause && typeof cause.code === "string" ? cause.code : "UNKNOWN"
  })

const attempt = <A>(call: string, run: () => A): Call<A> =>
  Effect.try({ try: run, catch: (cause) => failed(call, cause) })

const descriptors = Fs.existsSync("/proc/self/fd") ? "/proc/self/fd" : undefined

/**
 * `readQuiet` by certain functions of the file system.
 *
 * @since 0.1.0
 * @category constructors
 */
export const readQuietBy =
  (
    fs: Pick<typeof Fs, "openSync" | "fstatSync" | "lstatSync" | "readSync" | "closeSync">
  ): SystemCalls["Type"]["readQuiet"] =>
  (directory, name, journal, atMost) => {
    if (descriptors === undefined) return undefined
    const opened: Array<number> = []
    const open = (path: string, as: number) => {
      const fd = fs.openSync(path, as)
      opened.push(fd)
      return fd
    }
    try {
      const folder = `${descriptors}/${open(directory, flags.directory)}`
      const fd = open(`${folder}/${name}`, flags.read)
      const read = (bytes: Buffer) => fs.readSync(fd, bytes, 0, bytes.length, 0) === bytes.length
      const hasJournal = () => fs.lstatSync(`${folder}/${journal}`, { throwIfNoEntry: false }) !== undefined
      const before = fs.fstatSync(fd, { bigint: true })
      if (!before.isFile() || before.nlink > 1n || before.size > atMost) return undefined
      const bytes = Buffer.allocUnsafeSlow(Number(before.size))
      const head = Buffer.allocUnsafe(Math.min(bytes.length, headBytes))
      const again = Buffer.allocUnsafe(head.length)
      // Before, the head and then the journal, after, the journal and then the head, as in `QuietCopy`.
      if (!read(head) || hasJournal() || !read(bytes) || hasJournal()) return undefined
      const stats = fs.fstatSync(fd, { bigint: true })
      const isSame = stats.size === before.size && stats.mtimeNs === before.mtimeNs && read(again)
      return isSame && head.equals(again) && head.equals(bytes.subarray(0, head.length))
        ? { bytes, stats }
        : undefined
    } catch {
      return undefined
    } finally {
      for (const fd of opened) fs.closeSync(fd)
    }
  }

/** Where a database has what changes with each commit. */
const headBytes = 100

const firstNames = (path: string, atMost: number): ReadonlyArray<string> => {
  const directory = Fs.opendirSync(path)
  try {
    const names: Array<string> = []
    for (let entry = directory.readSync(); entry !== null && names.length < atMost;) {
      names.push(entry.name)
      entry = directory.readSync()
    }
    return names
  } finally {
    directory.closeSync()
  }
}

/**
 * How many bytes are read or written at most before there is a `pause`.
 *
 * @since 0.1.0
 * @category pauses
 */
export const pieceBytes = 1 << 20

/**
 * Lets timers, input and output have their turn. `Effect.yieldNow` is for other fibers only.
 *
 * @since 0.1.0
 * @category pauses
 */
export const pause: Effect.Effect<void> = Effect.async((resume) => {
  const immediate = setImmediate(() => resume(Effect.void))
  return Effect.sync(() => clearImmediate(immediate))
})

/**
 * Does something with bytes piece by piece, with a `pause` between two of them.
 *
 * @since 0.1.0
 * @category pauses
 */
export const eachPiece = <E, R>(
  bytes: Uint8Array,
  use: (piece: Uint8Array, position: number) => Effect.Effect<unknown, E, R>
): Effect.Effect<void, E, R> =>
  Effect.gen(function* () {
    for (let position = 0; position < bytes.byteLength; position += pieceBytes) {
      if (position > 0) yield* pause
      yield* use(bytes.subarray(position, position + pieceBytes), position)
    }
  })

/**
 * Flags for `open`. A flag that the system lacks is 0: on Windows nothing is refused for being a link, and
 * the checks that come after opening are what remains.
 *
 * @since 0.1.0
 * @category flags
 */
export const flags = {
  read: Fs.constants.O_RDONLY | (Fs.constants.O_NOFOLLOW ?? 0) | (Fs.constants.O_NONBLOCK ?? 0),
  /** For a path that nobody else has a say in: links are followed, but a FIFO is not waited for. */
  readFollowing: Fs.constants.O_RDONLY | (Fs.constants.O_NONBLOCK ?? 0),
  create: Fs.constants.O_RDWR | Fs.constants.O_CREAT | Fs.constants.O_EXCL | (Fs.constants.O_NOFOLLOW ?? 0),
  directory: Fs.constants.O_RDONLY | (Fs.constants.O_DIRECTORY ?? 0) | (Fs.constants.O_NOFOLLOW ?? 0),
  direct: Fs.constants.O_DIRECT ?? 0
} as const
