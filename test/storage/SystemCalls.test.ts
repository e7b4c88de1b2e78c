import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { flags, nothing, SystemCallError, SystemCalls } from "../../src/storage/SystemCalls.js"
import { openAt, plantFifo, temporaryDirectory, withoutHanging } from "./Fixtures.js"

const test = <A, E>(
  name: string,
  body: (folder: string, calls: typeof SystemCalls.Service) => Effect.Effect<A, E, never>
) =>
  it.scoped(name, () =>
    Effect.gen(function* () {
      const folder = yield* temporaryDirectory
      const calls = yield* SystemCalls
      Fs.writeFileSync(Path.join(folder, "file"), "0123456789")
      Fs.mkdirSync(Path.join(folder, "directory"))
      Fs.symlinkSync(Path.join(folder, "file"), Path.join(folder, "link"))
      Fs.symlinkSync(Path.join(folder, "directory"), Path.join(folder, "directory-link"))
      return yield* body(folder, calls)
    }).pipe(Effect.provide(SystemCalls.layer))
  )

type Calls = typeof SystemCalls.Service

const failures: ReadonlyArray<
  readonly [
    code: string,
    call: string,
    (calls: Calls, at: (name: string) => string) => Effect.Effect<unknown, SystemCallError>
  ]
> = [
  ["ENOENT", "open", (calls, at) => calls.open(at("none"), flags.read)],
  ["ELOOP", "open", (calls, at) => calls.open(at("link"), flags.read)],
  ["EEXIST", "open", (calls, at) => calls.open(at("file"), flags.create)],
  ["EEXIST", "open", (calls, at) => calls.open(at("link"), flags.create)],
  ["ENOTDIR", "open", (calls, at) => calls.open(at("file"), flags.directory)],
  ["ENOTDIR", "open", (calls, at) => calls.open(at("directory-link"), flags.directory)],
  ["ENOENT", "lstat", (calls, at) => calls.lstat(at("none"))],
  ["ENOENT", "realpath", (calls, at) => calls.realpath(at("none"))],
  ["ENOENT", "readdir", (calls, at) => calls.list(at("none"))],
  ["ENOTDIR", "readdir", (calls, at) => calls.list(at("file"))],
  ["EEXIST", "mkdir", (calls, at) => calls.makeDirectory(at("directory"))],
  ["EEXIST", "mkdir", (calls, at) => calls.makePath(at("file"))],
  ["ENOTDIR", "rmdir", (calls, at) => calls.removeDirectory(at("file"))],
  ["EISDIR", "unlink", (calls, at) => calls.unlink(at("directory"))],
  ["EEXIST", "link", (calls, at) => calls.link(at("file"), at("directory"))],
  ["ENOENT", "rename", (calls, at) => calls.rename(at("none"), at("other"))],
  ["EBADF", "fstat", (calls) => calls.fstat(999_999)],
  ["EBADF", "read", (calls) => calls.read(999_999, new Uint8Array(1), 0)],
  ["EBADF", "write", (calls) => calls.write(999_999, new Uint8Array(1), 0)],
  ["EBADF", "fsync", (calls) => calls.sync(999_999)],
  ["EBADF", "fchown", (calls) => calls.chown(999_999, 0, 0)],
  ["EBADF", "futimes", (calls) => calls.setTimes(999_999, 0)]
]

describe("SystemCalls", () => {
  failures.forEach(([code, call, run], index) => {
    test(`${index + 1}: ${call} fails with the system's own code, ${code}`, (folder, calls) =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(run(calls, (name) => Path.join(folder, name)))
        expect(error).toBeInstanceOf(SystemCallError)
        expect(error).toMatchObject({ call, code, message: `${call}: ${code}` })
      }))
  })

  test("reads where it is told, and nothing at the end", (folder, calls) =>
    Effect.acquireUseRelease(
      calls.open(Path.join(folder, "file"), flags.read),
      (fd) =>
        Effect.gen(function* () {
          const buffer = Buffer.alloc(4)
          expect(yield* calls.read(fd, buffer, 3)).toBe(4)
          expect(buffer.toString()).toBe("3456")
          expect(yield* calls.read(fd, buffer, 8)).toBe(2)
          expect(buffer.toString()).toBe("8956")
          expect(yield* calls.read(fd, buffer, 10)).toBe(0)
          expect(yield* calls.read(fd, buffer, 1_000)).toBe(0)
        }),
      calls.close
    ))

  test("writes all of the bytes where it is told", (folder, calls) =>
    Effect.gen(function* () {
      const path = Path.join(folder, "new")
      const bytes = Buffer.alloc(3 << 20, "abc")
      const fd = yield* calls.open(path, flags.create, 0o600)
      yield* calls.write(fd, bytes, 0)
      yield* calls.write(fd, Buffer.from("xyz"), 1)
      yield* calls.write(fd, new Uint8Array(), 5)
      yield* calls.sync(fd)
      yield* calls.close(fd)
      bytes.write("xyz", 1)
      expect(Fs.readFileSync(path).equals(bytes)).toBe(true)
      expect(Fs.statSync(path).mode & 0o777).toBe(0o600)
    }))

  test("glances at what has a name, at nothing, and at what cannot be told", (folder, { glance }) =>
    Effect.sync(() => {
      const at = (name: string) => Path.join(folder, name)
      for (const name of ["file", "directory", "link"]) {
        const { ctimeMs, ino, mtimeMs, size } = Fs.lstatSync(at(name))
        expect(glance(at(name))).toMatchObject({ ctimeMs, ino, mtimeMs, size })
      }
      expect(glance(at("none"))).toEqual(nothing)
      expect(glance(at("file/none"))).toBeUndefined()
      expect(glance(at("x".repeat(300)))).toBeUndefined()
      expect(glance(at("\0"))).toBeUndefined()
    }))

  test("has a clock that goes on", (_, { uptime }) =>
    Effect.gen(function* () {
      const before = uptime()
      yield* Effect.promise(() => new Promise((done) => setTimeout(done, 50)))
      expect(uptime() - before).toBeGreaterThan(40)
    }))

  test("sets times, in milliseconds", (folder, calls) =>
    Effect.gen(function* () {
      const path = Path.join(folder, "file")
      const fd = yield* calls.open(path, flags.read)
      yield* calls.setTimes(fd, 1_750_000_000_123)
      yield* calls.close(fd)
      expect(Math.round(Fs.statSync(path).mtimeMs)).toBe(1_750_000_000_123)
    }))

  test("shows descriptors as paths where the system does", (folder, calls) =>
    Effect.gen(function* () {
      expect(calls.descriptors).toBe(process.platform === "linux" ? "/proc/self/fd" : undefined)
      const fd = yield* calls.open(Path.join(folder, "directory"), flags.directory)
      yield* calls.makeDirectory(`${calls.descriptors}/${fd}/inside`)
      yield* calls.close(fd)
      expect(yield* calls.list(Path.join(folder, "directory"))).toEqual(["inside"])
    }))

  test("reads a file at rest in one go", (folder, calls) =>
    Effect.sync(() => {
      const quiet = calls.readQuiet(folder, "file", "file-journal", 10)
      expect(quiet?.bytes.toString()).toBe("0123456789")
      expect(quiet?.stats.ino).toBe(Fs.statSync(Path.join(folder, "file"), { bigint: true }).ino)
    }))

  const refused: ReadonlyArray<readonly [what: string, plant: (at: (name: string) => string) => void]> = [
    ["is a link", (at) => Fs.renameSync(at("link"), at("taken"))],
    ["is a directory", (at) => Fs.renameSync(at("directory"), at("taken"))],
    ["is not there", () => {}],
    ["has a second name", (at) => Fs.linkSync(at("file"), at("taken"))],
    ["is longer than it may be", (at) => Fs.writeFileSync(at("taken"), "01234567890")],
    [
      "has a journal",
      (at) => {
        Fs.writeFileSync(at("taken"), "0123456789")
        Fs.symlinkSync("nowhere", at("taken-journal"))
      }
    ]
  ]
  for (const [what, plant] of refused) {
    test(`reads nothing in one go if it ${what}, and leaves nothing open`, (folder, calls) =>
      Effect.sync(() => {
        plant((name) => Path.join(folder, name))
        expect(calls.readQuiet(folder, "taken", "taken-journal", 10)).toBeUndefined()
        expect(openAt(folder)).toEqual([])
      }))
  }

  test("reads nothing in one go through a link to its folder", (folder, calls) =>
    Effect.sync(() => {
      Fs.writeFileSync(Path.join(folder, "directory", "file"), "inside")
      expect(calls.readQuiet(Path.join(folder, "directory"), "file", "none", 10)).toBeDefined()
      expect(calls.readQuiet(Path.join(folder, "directory-link"), "file", "none", 10)).toBeUndefined()
    }))

  it.scopedLive("does not wait for a FIFO, following links or not", () =>
    Effect.gen(function* () {
      const calls = yield* SystemCalls
      const path = Path.join(yield* temporaryDirectory, "fifo")
      yield* plantFifo(path)
      for (const flag of [flags.read, flags.readFollowing]) {
        const fd = yield* withoutHanging(calls.open(path, flag))
        expect((yield* calls.fstat(fd)).isFIFO()).toBe(true)
        yield* calls.close(fd)
      }
      const quiet = Effect.sync(() => calls.readQuiet(Path.dirname(path), "fifo", "fifo-journal", 10))
      expect(yield* withoutHanging(quiet)).toBeUndefined()
    }).pipe(Effect.provide(SystemCalls.layer))
  )

  test("makes a path with all that is missing of it, and is content with one that is there", (folder, calls) =>
    Effect.gen(function* () {
      const path = Path.join(folder, "directory", "a", "b")
      yield* calls.makePath(path)
      yield* calls.makePath(path)
      expect(Fs.statSync(path).isDirectory()).toBe(true)
    }))
})
