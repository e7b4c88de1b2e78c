/**
 * Directories whose contents another party can change at any moment.
 *
 * A directory is opened once, without following a link, and everything inside is then reached through its
 * descriptor (`/proc/self/fd/<fd>/<name>`), one name at a time. Swapping the directory for a link in between
 * changes nothing: the descriptor stays where it is. Where the system does not show descriptors as paths
 * (macOS, Windows) names are joined to the path instead, which checks every open but cannot exclude a swap
 * between two of them.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { BigIntStats } from "node:fs"
import * as Path from "node:path"
import type { SessionDbUnavailable } from "../protocol/AirlockError.js"
import { SessionDbUnavailable as Unavailable, UnsafePath } from "../protocol/AirlockError.js"
import * as Closing from "./Closing.js"
import type { Subject } from "./StorageFailure.js"
import { fromSystemCall } from "./StorageFailure.js"
import { eachPiece, flags, nothing, pause, pieceBytes, SystemCallError, SystemCalls } from "./SystemCalls.js"

/**
 * An open directory. `path` is what people know it by; `at` gives the path of a name inside it, for one call.
 *
 * @since 0.1.0
 * @category models
 */
export interface SafeDirectory {
  readonly path: string
  readonly fd: number
  readonly at: (name: string) => string
}

/**
 * A regular file with one link, open for reading.
 *
 * @since 0.1.0
 * @category models
 */
export interface SafeFile {
  readonly fd: number
  readonly stats: BigIntStats
}

type Failure = UnsafePath | SessionDbUnavailable

/** What a name that is no UTF-8 is shown with. */
const replacementCharacter = "\ufffd"

const isCode = (code: string) => (error: SystemCallError) => error.code === code

/**
 * @since 0.1.0
 * @category tags
 */
export class SafeDirectories extends Context.Tag("effect-airlock/SafeDirectories")<
  SafeDirectories,
  {
    /** Opens a directory by its path. Its last segment must not be a link; those before it are trusted. */
    readonly open: (path: string, subject: Subject) => Effect.Effect<SafeDirectory, Failure, Scope.Scope>
    /** The same, for as long as `use` takes. */
    readonly within: <A, E, R>(
      path: string,
      subject: Subject,
      use: (directory: SafeDirectory) => Effect.Effect<A, E, R>
    ) => Effect.Effect<A, E | Failure, R>
    /** Opens a directory inside another. */
    readonly openChild: (
      directory: SafeDirectory,
      name: string,
      subject: Subject
    ) => Effect.Effect<SafeDirectory, Failure, Scope.Scope>
    /** Whether there is anything of that name: a link counts, wherever it leads. */
    readonly has: (
      directory: SafeDirectory,
      name: string,
      subject: Subject
    ) => Effect.Effect<boolean, Failure>
    /** Makes a directory inside another if it is not there. */
    readonly make: (directory: SafeDirectory, name: string, subject: Subject) => Effect.Effect<void, Failure>
    /** Opens a file for reading if it is a regular one with a single link. Never waits for a FIFO. */
    readonly openFile: (
      directory: SafeDirectory,
      name: string,
      subject: Subject,
      extraFlags?: number
    ) => Effect.Effect<SafeFile, Failure, Scope.Scope>
    /** The same, for as long as `use` takes. */
    readonly withFile: <A, E, R>(
      directory: SafeDirectory,
      name: string,
      subject: Subject,
      use: (file: SafeFile) => Effect.Effect<A, E, R>,
      extraFlags?: number
    ) => Effect.Effect<A, E | Failure, R>
    /** The contents of an open file, as `readFile` gives them. `name` is what errors call it. */
    readonly readOpen: (
      file: SafeFile,
      name: string,
      limit: number,
      subject: Subject
    ) => Effect.Effect<Uint8Array, Failure>
    /** The contents of a file of at most `limit` bytes; a larger one fails with the reason `too-large`. */
    readonly readFile: (
      directory: SafeDirectory,
      name: string,
      limit: number,
      subject: Subject
    ) => Effect.Effect<Uint8Array, Failure>
    /** Makes a file that was not there, in place of whatever else had that name, for writing. */
    readonly createFile: (
      directory: SafeDirectory,
      name: string,
      subject: Subject
    ) => Effect.Effect<number, Failure, Scope.Scope>
    /**
     * Writes a new file, and waits until it is on the disk; `meanwhile` runs while it waits. What was written of a
     * failed one is removed.
     */
    readonly writeFile: <E = never>(
      directory: SafeDirectory,
      name: string,
      content: Uint8Array | Stream.Stream<Uint8Array, E>,
      subject: Subject,
      meanwhile?: Effect.Effect<void>
    ) => Effect.Effect<void, Failure | E>
    /**
     * Removes a file, a link, or a directory with all that is in it, following nothing. Absent is fine. Whoever fills a
     * directory decides what that takes, so beyond `mostEntries` it ends with the reason `too-large`, and lets others have
     * their turn meanwhile.
     */
    readonly remove: (
      directory: SafeDirectory,
      name: string,
      subject: Subject
    ) => Effect.Effect<void, Failure>
    /** The same of a file or a link. A directory of that name stays. */
    readonly removeFile: (
      directory: SafeDirectory,
      name: string,
      subject: Subject
    ) => Effect.Effect<void, Failure>
  }
>() {
  /**
   * @since 0.1.0
   */
  static readonly layer: Layer.Layer<SafeDirectories, never, SystemCalls> = Layer.effect(
    SafeDirectories,
    Effect.suspend(() => make)
  )
}

const make = Effect.gen(function* () {
  const calls = yield* SystemCalls

  const openPath = (path: string, through: string, subject: Subject) =>
    calls.open(through, flags.directory).pipe(
      Effect.catchAll((error) =>
        // Linux answers ENOTDIR for a link to a directory: ask which of the two it is.
        calls.lstat(through).pipe(
          Effect.map((stats) => (stats.isSymbolicLink() ? "ELOOP" : error.code)),
          Effect.orElseSucceed(() => error.code),
          Effect.flatMap((code) => Effect.fail(new SystemCallError({ call: error.call, code }))),
          Effect.mapError(fromSystemCall(subject, path))
        )
      ),
      Effect.map((fd): SafeDirectory => {
        const base = calls.descriptors === undefined ? path : `${calls.descriptors}/${fd}`
        return { path, fd, at: (name) => `${base}/${name}` }
      })
    )

  const close = ({ fd }: { readonly fd: number }) => calls.close(fd)

  const open = (path: string, subject: Subject) => Closing.acquire(openPath(path, path, subject), close)

  const within = <A, E, R>(
    path: string,
    subject: Subject,
    use: (directory: SafeDirectory) => Effect.Effect<A, E, R>
  ) => Effect.acquireUseRelease(openPath(path, path, subject), use, close)

  const openChild = (directory: SafeDirectory, name: string, subject: Subject) =>
    Closing.acquire(openPath(Path.join(directory.path, name), directory.at(name), subject), close)

  const has = (directory: SafeDirectory, name: string, subject: Subject) =>
    calls.lstat(directory.at(name)).pipe(
      Effect.as(true),
      Effect.catchIf(isCode("ENOENT"), () => Effect.succeed(false)),
      Effect.mapError(fromSystemCall(subject, Path.join(directory.path, name)))
    )

  /** Whether a look says so: it costs a tenth of a call that fails because of it. */
  const isThere = (directory: SafeDirectory, name: string): boolean | undefined => {
    const seen = calls.glance(directory.at(name))
    return seen === undefined ? undefined : seen !== nothing
  }

  const makeDirectory = (directory: SafeDirectory, name: string, subject: Subject) =>
    Effect.suspend(() =>
      isThere(directory, name) === true
        ? Effect.void
        : calls.makeDirectory(directory.at(name)).pipe(
            Effect.catchIf(isCode("EEXIST"), () => Effect.void),
            Effect.mapError(fromSystemCall(subject, Path.join(directory.path, name)))
          )
    )

  const openRegular = (directory: SafeDirectory, name: string, subject: Subject, extraFlags: number) => {
    const path = Path.join(directory.path, name)
    const failure = fromSystemCall(subject, path)
    return Effect.flatMap(
      Effect.mapError(calls.open(directory.at(name), flags.read | extraFlags), failure),
      (fd) =>
        Effect.flatMap(
          Effect.mapError(calls.fstat(fd), failure),
          (stats): Effect.Effect<SafeFile, Failure> => {
            const reason = whyUnsafe(stats)
            return reason === undefined
              ? Effect.succeed({ fd, stats })
              : Effect.fail(new UnsafePath({ operation: subject.operation, path, reason }))
          }
        ).pipe(Effect.onError(() => calls.close(fd)))
    )
  }

  const openFile = (directory: SafeDirectory, name: string, subject: Subject, extraFlags = 0) =>
    Closing.acquire(openRegular(directory, name, subject, extraFlags), close)

  const withFile = <A, E, R>(
    directory: SafeDirectory,
    name: string,
    subject: Subject,
    use: (file: SafeFile) => Effect.Effect<A, E, R>,
    extraFlags = 0
  ) => Effect.acquireUseRelease(openRegular(directory, name, subject, extraFlags), use, close)

  const readOpen = Effect.fnUntraced(function* (
    { fd, stats }: SafeFile,
    name: string,
    limit: number,
    subject: Subject
  ) {
    const more: Array<Uint8Array> = []
    let length = 0
    if (stats.size > limit) return yield* new Unavailable({ ...subject, reason: "too-large" })
    // As long as it says it is: then nothing has to be put together afterwards.
    const whole = new Uint8Array(Number(stats.size))
    for (;;) {
      if (length > limit) return yield* new Unavailable({ ...subject, reason: "too-large" })
      const rest = whole.subarray(length, length + pieceBytes)
      const chunk = rest.byteLength > 0 ? rest : new Uint8Array(Math.min(4096, limit + 1 - length))
      const count = yield* calls.read(fd, chunk, length).pipe(Effect.mapError(fromSystemCall(subject, name)))
      if (count === 0) return more.length === 0 ? whole.subarray(0, length) : concat([whole, ...more], length)
      if (rest.byteLength === 0) more.push(chunk.subarray(0, count))
      length += count
      if (length >= pieceBytes) yield* pause
    }
  })

  const readFile = (directory: SafeDirectory, name: string, limit: number, subject: Subject) =>
    withFile(directory, name, subject, (file) =>
      readOpen(file, Path.join(directory.path, name), limit, subject)
    )

  const createFile = Effect.fnUntraced(function* (directory: SafeDirectory, name: string, subject: Subject) {
    const path = Path.join(directory.path, name)
    const create = Closing.acquire(calls.open(directory.at(name), flags.create, 0o644), calls.close)
    return yield* create.pipe(
      Effect.mapError(fromSystemCall(subject, path)),
      Effect.catchIf(
        (error) => error._tag === "SessionDbUnavailable" && error.code === "EEXIST",
        () =>
          Effect.zipRight(
            remove(directory, name, subject),
            Effect.mapError(create, fromSystemCall(subject, path))
          )
      )
    )
  })

  const writePieces = (fd: number, bytes: Uint8Array, position: number) =>
    eachPiece(bytes, (piece, at) => calls.write(fd, piece, position + at))

  const writeAll = <E>(
    fd: number,
    content: Uint8Array | Stream.Stream<Uint8Array, E>,
    failure: (error: SystemCallError) => Failure
  ): Effect.Effect<unknown, Failure | E> =>
    content instanceof Uint8Array
      ? Effect.mapError(writePieces(fd, content, 0), failure)
      : Stream.runFoldEffect(content, 0, (position, chunk) =>
          Effect.mapError(writePieces(fd, chunk, position), failure).pipe(
            Effect.zipRight(position < pieceBytes ? Effect.void : pause),
            Effect.as(position + chunk.byteLength)
          )
        )

  const syncWhile = (fd: number, meanwhile: Effect.Effect<void>) =>
    Effect.gen(function* () {
      const syncing = yield* Effect.fork(calls.sync(fd))
      // It begins now.
      yield* Effect.yieldNow()
      yield* meanwhile
      yield* Fiber.join(syncing)
    })

  const writeFile = <E>(
    directory: SafeDirectory,
    name: string,
    content: Uint8Array | Stream.Stream<Uint8Array, E>,
    subject: Subject,
    meanwhile?: Effect.Effect<void>
  ) =>
    Effect.gen(function* () {
      const fd = yield* createFile(directory, name, subject)
      const failure = fromSystemCall(subject, Path.join(directory.path, name))
      yield* writeAll(fd, content, failure)
      yield* Effect.mapError(meanwhile === undefined ? calls.sync(fd) : syncWhile(fd, meanwhile), failure)
    }).pipe(
      Effect.scoped,
      Effect.onError(() => Effect.ignore(remove(directory, name, subject)))
    )

  const unlinkOr = <E, R>(
    directory: SafeDirectory,
    name: string,
    otherwise: Effect.Effect<void, E, R>
  ): Effect.Effect<void, E | SystemCallError, R> =>
    calls.unlink(directory.at(name)).pipe(
      Effect.catchIf(isCode("ENOENT"), () => Effect.void),
      // What Linux and what macOS answers for a directory.
      Effect.catchIf(
        (error) => error.code === "EISDIR" || error.code === "EPERM",
        () => otherwise
      )
    )

  const namesIn = Effect.fnUntraced(function* (directory: SafeDirectory, { left }: Budget, subject: Subject) {
    const names = yield* calls.list(directory.at("."), left + 1)
    if (names.length > left) return yield* new Unavailable({ ...subject, reason: "too-large" })
    if (!names.some((name) => name.includes(replacementCharacter))) return names
    yield* calls.nameAsText(directory.at("."))
    return yield* calls.list(directory.at("."), left + 1)
  })

  /** Counts one entry, and lets others have their turn after some. */
  const spend = (budget: Budget, subject: Subject) =>
    Effect.suspend(() => {
      if (budget.left-- <= 0) return Effect.fail(new Unavailable({ ...subject, reason: "too-large" }))
      return budget.left % entriesPerTurn === 0 ? pause : Effect.void
    })

  /** Empties a directory inside another. What it has of directories moves to the other; how many, it says. */
  const flatten = Effect.fnUntraced(function* (
    directory: SafeDirectory,
    name: string,
    budget: Budget,
    subject: Subject
  ) {
    const inner = yield* openChild(directory, name, subject)
    let moved = 0
    for (const entry of yield* namesIn(inner, budget, subject)) {
      yield* spend(budget, subject)
      const place = `airlock-${yield* Random.nextIntBetween(0, Number.MAX_SAFE_INTEGER)}`
      const move = Effect.tap(calls.rename(inner.at(entry), directory.at(place)), () => moved++)
      yield* unlinkOr(inner, entry, move)
    }
    return moved
  }, Effect.scoped)

  /** A tree can be deeper than the number of files that a process may open, so it is made flat on the way. */
  const empty = Effect.fnUntraced(function* (directory: SafeDirectory, name: string, subject: Subject) {
    const top = yield* openChild(directory, name, subject)
    const budget: Budget = { left: mostEntries }
    let moved: number
    do {
      moved = 0
      for (const entry of yield* namesIn(top, budget, subject)) {
        yield* spend(budget, subject)
        const removeDirectory = flatten(top, entry, budget, subject).pipe(
          Effect.tap((count) => (moved += count)),
          Effect.zipRight(calls.removeDirectory(top.at(entry)))
        )
        yield* unlinkOr(top, entry, removeDirectory)
      }
    } while (moved > 0)
  }, Effect.scoped)

  const removeOr = (
    directory: SafeDirectory,
    name: string,
    subject: Subject,
    otherwise: Effect.Effect<void, Failure | SystemCallError>
  ): Effect.Effect<void, Failure> =>
    Effect.suspend(() =>
      isThere(directory, name) === false ? Effect.void : unlinkOr(directory, name, otherwise)
    ).pipe(
      Effect.mapError((error) =>
        error._tag === "SystemCallError"
          ? fromSystemCall(subject, Path.join(directory.path, name))(error)
          : error
      )
    )

  const remove = (directory: SafeDirectory, name: string, subject: Subject) =>
    removeOr(
      directory,
      name,
      subject,
      Effect.zipRight(empty(directory, name, subject), calls.removeDirectory(directory.at(name)))
    )

  const removeFile = (directory: SafeDirectory, name: string, subject: Subject) =>
    removeOr(directory, name, subject, Effect.void)

  return SafeDirectories.of({
    open,
    within,
    openChild,
    has,
    make: makeDirectory,
    openFile,
    withFile,
    readOpen,
    readFile,
    createFile,
    writeFile,
    remove,
    removeFile
  })
})

/** How many entries of a tree may still be removed. */
interface Budget {
  left: number
}

/**
 * The most entries of a directory that `remove` removes.
 *
 * @since 0.1.0
 * @category constants
 */
export const mostEntries = 10_000

const entriesPerTurn = 64

const concat = (chunks: ReadonlyArray<Uint8Array>, length: number): Uint8Array => {
  const whole = new Uint8Array(length)
  let at = 0
  for (const chunk of chunks) {
    whole.set(chunk, at)
    at += chunk.byteLength
  }
  return whole
}

/**
 * Why a file must not be used: it is not a regular file, or has another name somewhere else.
 *
 * @since 0.1.0
 * @category predicates
 */
export const whyUnsafe = (stats: BigIntStats): UnsafePath["reason"] | undefined => {
  if (stats.isSymbolicLink()) return "symbolic-link"
  if (!stats.isFile()) return "not-a-regular-file"
  return stats.nlink > 1n ? "hard-link" : undefined
}
