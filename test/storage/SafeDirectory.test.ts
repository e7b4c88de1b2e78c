import { describe, expect, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Cause, Effect, Either, Exit, Layer, Stream } from "effect"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Path from "node:path"
import type { SafeDirectory } from "../../src/storage/SafeDirectory.js"
import { SafeDirectories } from "../../src/storage/SafeDirectory.js"
import { SystemCallError, SystemCalls } from "../../src/storage/SystemCalls.js"
import * as Fixtures from "./Fixtures.js"

const { subject } = Fixtures

/** A directory that the other party can write to, beside one that it must not reach. */
interface Place {
  readonly directories: typeof SafeDirectories.Service
  readonly directory: SafeDirectory
  /** The path of a name in the directory. */
  readonly at: (name: string) => string
  /** The path of a name outside. */
  readonly outside: (name: string) => string
}

const place = Effect.gen(function* () {
  const folder = yield* Fixtures.temporaryDirectory
  const [shared, canary] = [Path.join(folder, "shared"), Path.join(folder, "canary")]
  Fs.mkdirSync(shared)
  Fs.mkdirSync(Path.join(canary, "deep"), { recursive: true })
  Fs.writeFileSync(Path.join(canary, "precious"), "precious")
  Fs.writeFileSync(Path.join(canary, "deep", "precious"), "precious")
  const directories = yield* SafeDirectories
  const directory = yield* directories.open(shared, subject)
  const found: Place = {
    directories,
    directory,
    at: (name) => Path.join(shared, name),
    outside: (name) => Path.join(canary, name)
  }
  return found
})

const layer = SafeDirectories.layer.pipe(Layer.provide(SystemCalls.layer))

const unchanged = { deep: "-", "deep/precious": "precious", precious: "precious" }

/** A test that also holds that nothing outside changed, and that no descriptor stayed open. */
const testWith =
  (services: Layer.Layer<SafeDirectories>) =>
  <A, E>(name: string, body: (place: Place) => Effect.Effect<A, E, Scope.Scope>) =>
    it.scopedLive(name, () =>
      Effect.gen(function* () {
        const here = yield* place
        const opened = () => Fixtures.openAt(Path.dirname(here.directory.path))
        const before = opened()
        yield* Effect.scoped(body(here))
        expect(Fixtures.listing(here.outside("."))).toEqual(unchanged)
        expect(opened()).toEqual(before)
      }).pipe(Effect.provide(services))
    )

const test = testWith(layer)

/** Real calls, but for some. */
const withCalls = (replace: (calls: typeof SystemCalls.Service) => Partial<typeof SystemCalls.Service>) =>
  testWith(
    SafeDirectories.layer.pipe(
      Layer.provide(
        Layer.effect(
          SystemCalls,
          Effect.map(SystemCalls, (calls) => ({ ...calls, ...replace(calls) }))
        )
      ),
      Layer.provide(SystemCalls.layer)
    )
  )

const unsafe = (reason: string) => ({ _tag: "UnsafePath", operation: subject.operation, reason })

const unavailable = (reason: string) => ({ _tag: "SessionDbUnavailable", ...subject, reason })

const bytesOf = (...texts: ReadonlyArray<string>) =>
  Stream.fromIterable(texts.map((text) => Buffer.from(text)))

/** All ways to get at what is in a file that somebody else put there. */
const reading = ({ directories, directory }: Place, name: string) => [
  Effect.asVoid(Effect.scoped(directories.openFile(directory, name, subject))),
  Effect.asVoid(directories.readFile(directory, name, 1_000, subject))
]

describe("SafeDirectories.open", () => {
  test("refuses a link to a directory, and says that it is one", ({ directories, at, outside }) =>
    Effect.gen(function* () {
      Fs.symlinkSync(outside("."), at("link"))
      const error = yield* Effect.flip(directories.open(at("link"), subject))
      expect(error).toMatchObject({ ...unsafe("symbolic-link"), path: at("link") })
    }))

  test("refuses a dangling link, a file, and what is missing", ({ directories, at }) =>
    Effect.gen(function* () {
      Fs.symlinkSync(at("nowhere"), at("link"))
      Fs.writeFileSync(at("file"), "")
      const failure = (name: string) => Effect.flip(directories.open(at(name), subject))
      expect(yield* failure("link")).toMatchObject(unsafe("symbolic-link"))
      expect(yield* failure("file")).toMatchObject(unsafe("not-a-directory"))
      expect(yield* failure("none")).toMatchObject(unavailable("missing"))
    }))

  test("refuses a FIFO without waiting for it", ({ directories, at }) =>
    Effect.gen(function* () {
      yield* Fixtures.plantFifo(at("fifo"))
      const error = yield* Fixtures.withoutHanging(Effect.flip(directories.open(at("fifo"), subject)))
      expect(error).toMatchObject(unsafe("not-a-directory"))
    }))

  test("closes what it opened with the scope, wherever it is interrupted", ({ directories, directory, at }) =>
    Effect.gen(function* () {
      Fs.mkdirSync(at("child"))
      const before = Fixtures.openAt(directory.path)
      yield* Fixtures.interruptedAtEveryOperation(
        Effect.scoped(
          Effect.zipRight(
            directories.open(at("child"), subject),
            directories.openChild(directory, "child", subject)
          )
        ),
        Effect.sync(() => expect(Fixtures.openAt(directory.path)).toEqual(before))
      )
    }))
})

describe("SafeDirectories.openChild", () => {
  test("opens a directory that is there", ({ directories, directory, at }) =>
    Effect.gen(function* () {
      Fs.mkdirSync(at("child"))
      Fs.writeFileSync(at("child/file"), "inside")
      const child = yield* directories.openChild(directory, "child", subject)
      expect(child.path).toBe(at("child"))
      expect(Buffer.from(yield* directories.readFile(child, "file", 10, subject)).toString()).toBe("inside")
    }))

  test("refuses a link, a file, and what is missing", ({ directories, directory, at, outside }) =>
    Effect.gen(function* () {
      Fs.symlinkSync(outside("deep"), at("link"))
      Fs.writeFileSync(at("file"), "")
      const failure = (name: string) => Effect.flip(directories.openChild(directory, name, subject))
      expect(yield* failure("link")).toMatchObject({ ...unsafe("symbolic-link"), path: at("link") })
      expect(yield* failure("file")).toMatchObject(unsafe("not-a-directory"))
      expect(yield* failure("none")).toMatchObject(unavailable("missing"))
    }))
})

describe("SafeDirectories.make", () => {
  test("makes a directory, and is content with one that is there", ({ directories, directory, at }) =>
    Effect.gen(function* () {
      yield* directories.make(directory, "child", subject)
      yield* directories.make(directory, "child", subject)
      expect(Fs.lstatSync(at("child")).isDirectory()).toBe(true)
    }))

  test("does not make anything through a link in its place", ({ directories, directory, at, outside }) =>
    Effect.gen(function* () {
      Fs.symlinkSync(outside("new"), at("link"))
      yield* directories.make(directory, "link", subject)
      const error = yield* Effect.flip(directories.openChild(directory, "link", subject))
      expect(error).toMatchObject(unsafe("symbolic-link"))
    }))
})

describe("reading a file", () => {
  test("gives its bytes", ({ directories, directory, at }) =>
    Effect.gen(function* () {
      Fs.writeFileSync(at("file"), "0123456789")
      const bytes = yield* directories.readFile(directory, "file", 10, subject)
      expect(Buffer.from(bytes).toString()).toBe("0123456789")
      Fs.writeFileSync(at("empty"), "")
      expect(yield* directories.readFile(directory, "empty", 0, subject)).toEqual(new Uint8Array())
    }))

  test("gives all bytes of a large one", ({ directories, directory, at }) =>
    Effect.gen(function* () {
      const large = Buffer.alloc(5 << 20, "0123456")
      Fs.writeFileSync(at("file"), large)
      const bytes = yield* directories.readFile(directory, "file", 5 << 20, subject)
      expect(large.equals(bytes)).toBe(true)
    }))

  for (const [what, size] of [
    ["one byte too large", 1_001],
    ["a hole of a tebibyte", 2 ** 40]
  ] as const) {
    test(`refuses a file that is ${what}`, (here) =>
      Effect.gen(function* () {
        Fs.writeFileSync(here.at("file"), "")
        Fs.truncateSync(here.at("file"), size)
        const error = yield* Effect.flip(here.directories.readFile(here.directory, "file", 1_000, subject))
        expect(error).toMatchObject(unavailable("too-large"))
      }))
  }

  test("refuses a link to a file, and to nothing", (here) =>
    Effect.gen(function* () {
      Fs.symlinkSync(here.outside("precious"), here.at("link"))
      Fs.symlinkSync(here.at("nowhere"), here.at("dangling"))
      for (const name of ["link", "dangling"]) {
        for (const read of reading(here, name)) {
          expect(yield* Effect.flip(read)).toMatchObject({ ...unsafe("symbolic-link"), path: here.at(name) })
        }
      }
    }))

  test("refuses a file that has another name", (here) =>
    Effect.gen(function* () {
      Fs.linkSync(here.outside("precious"), here.at("link"))
      for (const read of reading(here, "link")) {
        expect(yield* Effect.flip(read)).toMatchObject(unsafe("hard-link"))
      }
    }))

  test("refuses a FIFO without waiting for it", (here) =>
    Effect.gen(function* () {
      yield* Fixtures.plantFifo(here.at("fifo"))
      for (const read of reading(here, "fifo")) {
        const error = yield* Fixtures.withoutHanging(Effect.flip(read))
        expect(error).toMatchObject(unsafe("not-a-regular-file"))
      }
    }))

  test("refuses a socket, a device and a directory", (here) =>
    Effect.gen(function* () {
      yield* Effect.acquireRelease(
        Effect.async<Net.Server>((resume) => {
          const server = Net.createServer()
          server.listen(here.at("socket"), () => resume(Effect.succeed(server)))
        }),
        (server) => Effect.async<void>((resume) => void server.close(() => resume(Effect.void)))
      )
      Fs.mkdirSync(here.at("directory"))
      // Only the superuser may make a device.
      const hasDevice = ChildProcess.spawnSync("mknod", [here.at("device"), "c", "1", "5"]).status === 0
      for (const name of ["socket", "directory", ...(hasDevice ? ["device"] : [])]) {
        for (const read of reading(here, name)) {
          expect(yield* Effect.flip(read)).toMatchObject(unsafe("not-a-regular-file"))
        }
      }
    }))

  test("says what is missing", (here) =>
    Effect.gen(function* () {
      for (const read of reading(here, "none")) {
        expect(yield* Effect.flip(read)).toMatchObject({ ...unavailable("missing"), code: "ENOENT" })
      }
    }))

  test("does not stop the event loop, however large the file is", ({ directories, directory, at }) =>
    Effect.gen(function* () {
      Fs.writeFileSync(at("file"), Buffer.alloc(20 << 20))
      const loop = yield* Fixtures.eventLoop
      yield* directories.readFile(directory, "file", 20 << 20, subject)
      expect(loop.turns).toBeGreaterThan(10)
    }))

  withCalls((calls) => ({
    read: (fd, buffer, position) => calls.read(fd, buffer.subarray(0, 3), position)
  }))("puts together what comes in pieces", ({ directories, directory, at }) =>
    Effect.gen(function* () {
      Fs.writeFileSync(at("file"), "0123456789")
      const bytes = yield* directories.readFile(directory, "file", 10, subject)
      expect(Buffer.from(bytes).toString()).toBe("0123456789")
      const error = yield* Effect.flip(directories.readFile(directory, "file", 9, subject))
      expect(error).toMatchObject(unavailable("too-large"))
    })
  )

  withCalls((calls) => ({
    fstat: (fd) => Effect.map(calls.fstat(fd), (stats) => Object.assign(stats, { size: 0n }))
  }))("stops at the limit also if the file grows", ({ directories, directory, at }) =>
    Effect.gen(function* () {
      Fs.writeFileSync(at("file"), Buffer.alloc(10_000))
      const error = yield* Effect.flip(directories.readFile(directory, "file", 9_999, subject))
      expect(error).toMatchObject(unavailable("too-large"))
    })
  )
})

describe("SafeDirectories.createFile", () => {
  test("makes a file for writing, which others may read", ({ directories, directory, at }) =>
    Effect.gen(function* () {
      const fd = yield* directories.createFile(directory, "file", subject)
      Fs.writeSync(fd, "new")
      expect(Fs.readFileSync(at("file"), "utf8")).toBe("new")
      expect(Fs.statSync(at("file")).mode & 0o777).toBe(0o644 & ~process.umask())
    }))

  for (const [what, plant] of [
    ["a file", ({ at }: Place) => Fs.writeFileSync(at("file"), "old")],
    ["a link to a file", ({ at, outside }: Place) => Fs.symlinkSync(outside("precious"), at("file"))],
    ["a link to where nothing is", ({ at, outside }: Place) => Fs.symlinkSync(outside("new"), at("file"))],
    ["a link to a directory", ({ at, outside }: Place) => Fs.symlinkSync(outside("deep"), at("file"))],
    ["another name of a file", ({ at, outside }: Place) => Fs.linkSync(outside("precious"), at("file"))],
    ["a FIFO", ({ at }: Place) => void ChildProcess.execFileSync("mkfifo", [at("file")])],
    [
      "a directory",
      ({ at, outside }: Place) => {
        Fs.mkdirSync(at("file/inner"), { recursive: true })
        Fs.symlinkSync(outside("deep"), at("file/inner/link"))
      }
    ]
  ] as const) {
    test(`puts a new file in place of ${what}`, (here) =>
      Effect.gen(function* () {
        plant(here)
        const fd = yield* here.directories.createFile(here.directory, "file", subject)
        Fs.writeSync(fd, "new")
        const stats = Fs.lstatSync(here.at("file"))
        expect([stats.isFile(), stats.nlink]).toEqual([true, 1])
        expect(Fs.readFileSync(here.at("file"), "utf8")).toBe("new")
      }))
  }

  withCalls((calls) => ({
    // Somebody is faster, always.
    unlink: (path) =>
      Effect.zipRight(
        calls.unlink(path),
        Effect.sync(() => Fs.symlinkSync("/nowhere", path))
      )
  }))("fails, and does not try for ever, if somebody keeps putting something there", (here) =>
    Effect.gen(function* () {
      Fs.symlinkSync(here.outside("new"), here.at("file"))
      const error = yield* Effect.flip(here.directories.createFile(here.directory, "file", subject))
      expect(error).toMatchObject({ ...unavailable("io"), code: "EEXIST" })
    })
  )
})

describe("SafeDirectories.writeFile", () => {
  test("writes all that the stream has", ({ directories, directory, at }) =>
    Effect.gen(function* () {
      yield* directories.writeFile(directory, "file", bytesOf("one, ", "", "two, ", "three"), subject)
      expect(Fs.readFileSync(at("file"), "utf8")).toBe("one, two, three")
      yield* directories.writeFile(directory, "file", Stream.empty, subject)
      expect(Fs.readFileSync(at("file"), "utf8")).toBe("")
    }))

  test("writes large and small pieces, and does not stop the event loop", ({ directories, directory, at }) =>
    Effect.gen(function* () {
      const pieces = [3 << 20, 5, 0, 1 << 20, 15 << 20, 1].map((size, index) => Buffer.alloc(size, index + 1))
      const loop = yield* Fixtures.eventLoop
      yield* directories.writeFile(directory, "file", Stream.fromIterable(pieces), subject)
      expect(loop.turns).toBeGreaterThan(10)
      expect(Fs.readFileSync(at("file")).equals(Buffer.concat(pieces))).toBe(true)
    }))

  const synced: Array<string> = []
  withCalls((calls) => ({
    sync: (fd) => {
      synced.push(Fs.readFileSync(Fs.readlinkSync(`/proc/self/fd/${fd}`), "utf8"))
      return calls.sync(fd)
    }
  }))("waits until the disk has it", ({ directories, directory }) =>
    Effect.gen(function* () {
      yield* directories.writeFile(directory, "file", bytesOf("all", " of it"), subject)
      expect(synced).toEqual(["all of it"])
    })
  )

  const steps: Array<string> = []
  withCalls((calls) => ({
    sync: (fd) => {
      steps.push("sync begins")
      return Effect.tap(calls.sync(fd), () => Effect.sync(() => steps.push("sync ends")))
    }
  }))("does what there is to do while it waits for the disk", ({ directories, directory, at }) =>
    Effect.gen(function* () {
      const meanwhile = Effect.sync(() => steps.push("meanwhile"))
      yield* directories.writeFile(directory, "file", Buffer.from("bytes"), subject, Effect.asVoid(meanwhile))
      expect(steps).toEqual(["sync begins", "meanwhile", "sync ends"])
      expect(Fs.readFileSync(at("file"), "utf8")).toBe("bytes")
    })
  )

  test("does not stop the event loop with many bytes", ({ directories, directory, at }) =>
    Effect.gen(function* () {
      const bytes = Buffer.alloc(20 << 20, "x")
      const loop = yield* Fixtures.eventLoop
      yield* directories.writeFile(directory, "file", bytes, subject)
      expect(loop.turns).toBeGreaterThan(10)
      expect(Fs.readFileSync(at("file")).equals(bytes)).toBe(true)
    }))

  for (const [way, ending, why] of [
    ["fails", Stream.fail("failure"), /failure/],
    ["dies", Stream.die("defect"), /defect/],
    ["is interrupted", Stream.fromEffect(Effect.interrupt), /interrupted/]
  ] as const) {
    test(`leaves nothing if the stream ${way} in the middle`, ({ directories, directory }) =>
      Effect.gen(function* () {
        const exit = yield* Effect.exit(
          directories.writeFile(directory, "file", Stream.concat(bytesOf("some"), ending), subject)
        )
        expect(Exit.isFailure(exit) && Cause.pretty(exit.cause)).toMatch(why)
        expect(Fs.readdirSync(directory.path)).toEqual([])
      }))
  }

  for (const [what, write] of [
    [
      "of a stream",
      ({ directories, directory }: Place) =>
        directories.writeFile(directory, "file", bytesOf("one, ", "two"), subject)
    ],
    [
      "of bytes",
      ({ directories, directory }: Place) =>
        directories.writeFile(directory, "file", Buffer.from("one, two"), subject)
    ],
    [
      "of bytes, with something to do meanwhile",
      ({ directories, directory }: Place) =>
        directories.writeFile(directory, "file", Buffer.from("one, two"), subject, Effect.yieldNow())
    ]
  ] as const) {
    test(`leaves nothing ${what} wherever it is interrupted`, (place) =>
      Effect.gen(function* () {
        let whole = 0
        yield* Fixtures.interruptedAtEveryOperation(
          write(place),
          Effect.sync(() => {
            if (!Fs.existsSync(place.at("file"))) return
            expect(Fs.readFileSync(place.at("file"), "utf8")).toBe("one, two")
            Fs.unlinkSync(place.at("file"))
            whole++
          })
        )
        expect(whole).toBeGreaterThan(0)
      }))
  }

  const full = (call: string) => Effect.fail(new SystemCallError({ call, code: "ENOSPC" }))
  for (const [call, replace] of [
    ["write", { write: () => full("write") }],
    ["sync", { sync: () => full("sync") }]
  ] as const) {
    withCalls(() => replace)(`leaves nothing if the disk is full at ${call}`, ({ directories, directory }) =>
      Effect.gen(function* () {
        for (const write of [
          directories.writeFile(directory, "file", bytesOf("some"), subject),
          directories.writeFile(directory, "file", Buffer.from("some"), subject, Effect.void)
        ]) {
          expect(yield* Effect.flip(write)).toMatchObject({ ...unavailable("disk-full"), code: "ENOSPC" })
          expect(Fs.readdirSync(directory.path)).toEqual([])
        }
      })
    )
  }
})

describe("SafeDirectories.removeFile", () => {
  test("removes a file or a link, and leaves a directory", ({ directories, directory, at, outside }) =>
    Effect.gen(function* () {
      Fs.writeFileSync(at("file"), "")
      Fs.symlinkSync(outside("precious"), at("link"))
      Fs.mkdirSync(at("directory"))
      for (const name of ["file", "link", "directory", "none"]) {
        yield* directories.removeFile(directory, name, subject)
      }
      expect(Fs.readdirSync(directory.path)).toEqual(["directory"])
      expect(Fs.existsSync(outside("precious"))).toBe(true)
    }))
})

describe("SafeDirectories.remove", () => {
  test("removes a tree, and follows no link out of it", ({ directories, directory, at, outside }) =>
    Effect.gen(function* () {
      Fs.mkdirSync(at("tree/a/b/c"), { recursive: true })
      Fs.writeFileSync(at("tree/a/file"), "x")
      Fs.symlinkSync(outside("."), at("tree/a/b/canary"))
      Fs.symlinkSync(outside("precious"), at("tree/a/b/c/precious"))
      Fs.symlinkSync("..", at("tree/a/b/c/up"))
      Fs.linkSync(outside("precious"), at("tree/hard"))
      ChildProcess.execFileSync("mkfifo", [at("tree/a/fifo")])
      yield* directories.remove(directory, "tree", subject)
      expect(Fs.readdirSync(directory.path)).toEqual([])
    }))

  test("removes a link, not what it leads to", ({ directories, directory, at, outside }) =>
    Effect.gen(function* () {
      Fs.symlinkSync(outside("."), at("directory"))
      Fs.symlinkSync(outside("precious"), at("file"))
      yield* directories.remove(directory, "directory", subject)
      yield* directories.remove(directory, "file", subject)
      expect(Fs.readdirSync(directory.path)).toEqual([])
    }))

  test("is content if there is nothing", ({ directories, directory }) =>
    directories.remove(directory, "none", subject))

  const open = { now: 0, most: 0 }
  withCalls((calls) => ({
    open: (path, flags, mode) =>
      Effect.tap(calls.open(path, flags, mode), () => (open.most = Math.max(open.most, ++open.now))),
    close: (fd) => Effect.tap(calls.close(fd), () => open.now--)
  }))("removes a tree deeper than a path can be long, with a handful of descriptors", (here) =>
    Effect.gen(function* () {
      const { directories, directory } = here
      yield* Fixtures.startProcess(
        `process.chdir(args[0])
         Fs.mkdirSync("tree")
         process.chdir("tree")
         for (let depth = 0; depth < 100; depth++) {
           Fs.mkdirSync("x".repeat(100))
           process.chdir("x".repeat(100))
           Fs.writeFileSync("file", "x")
         }
         console.log("ready")`,
        directory.path
      )
      yield* directories.remove(directory, "tree", subject)
      expect(Fs.readdirSync(directory.path)).toEqual([])
      expect(open.most).toBeLessThan(5)
    })
  )

  test("removes names that are no text, and no others with them", ({ directories, directory, at }) =>
    Effect.gen(function* () {
      const noText = (name: string) =>
        Buffer.concat([Buffer.from(at(name)), Buffer.from([0xff, 0xfe]), Buffer.alloc(200, 0x80)])
      Fs.mkdirSync(at("tree/\ufffd"), { recursive: true })
      Fs.writeFileSync(noText("tree/file"), "x")
      Fs.mkdirSync(noText("tree/directory"))
      Fs.writeFileSync(noText("tree/\ufffd/file"), "x")
      yield* directories.remove(directory, "tree", subject)
      expect(Fs.readdirSync(directory.path)).toEqual([])
    }))

  withCalls((calls) => ({
    // Between the look at the directory and its removal somebody puts a link there.
    list: (path) =>
      Effect.tap(calls.list(path), () => {
        const tree = Fs.realpathSync(path)
        if (!tree.endsWith("/tree")) return
        Fs.renameSync(tree, `${tree}-moved`)
        Fs.symlinkSync(Path.join(tree, "../../canary"), tree)
      })
  }))("removes nothing through a link that takes the directory's place", ({ directories, directory, at }) =>
    Effect.gen(function* () {
      Fs.mkdirSync(at("tree"))
      Fs.writeFileSync(at("tree/precious"), "x")
      yield* Effect.ignore(directories.remove(directory, "tree", subject))
      expect(Fs.readdirSync(at("tree-moved"))).toEqual([])
    })
  )
})

describe("a directory that is swapped for a link after it was opened", () => {
  const swap = ({ at, outside }: Place, name: string) => {
    Fs.renameSync(at(name), at("moved"))
    Fs.symlinkSync(outside("."), at(name))
  }

  const opened = (here: Place) =>
    Effect.gen(function* () {
      Fs.mkdirSync(here.at("child/deep"), { recursive: true })
      Fs.writeFileSync(here.at("child/precious"), "a decoy")
      const child = yield* here.directories.openChild(here.directory, "child", subject)
      swap(here, "child")
      return child
    })

  test("is still the one that is read", (here) =>
    Effect.gen(function* () {
      const child = yield* opened(here)
      const bytes = yield* here.directories.readFile(child, "precious", 100, subject)
      expect(Buffer.from(bytes).toString()).toBe("a decoy")
    }))

  test("is still the one that is written to", (here) =>
    Effect.gen(function* () {
      const child = yield* opened(here)
      yield* here.directories.writeFile(child, "file", bytesOf("new"), subject)
      yield* here.directories.writeFile(child, "precious", bytesOf("new"), subject)
      yield* here.directories.make(child, "made", subject)
      expect(Fixtures.listing(here.at("moved"))).toEqual({
        deep: "-",
        file: "new",
        made: "-",
        precious: "new"
      })
    }))

  test("is still the one that things are removed from", (here) =>
    Effect.gen(function* () {
      const child = yield* opened(here)
      yield* here.directories.remove(child, "precious", subject)
      yield* here.directories.remove(child, "deep", subject)
      expect(Fs.readdirSync(here.at("moved"))).toEqual([])
    }))

  test("again and again by another process, never leads outside", (here) =>
    Effect.gen(function* () {
      Fs.mkdirSync(here.at("child"))
      yield* Fixtures.startProcess(
        `console.log("ready")
         const [child, moved, outside] = args
         for (;;) {
           Fs.renameSync(child, moved); Fs.symlinkSync(outside, child)
           Fs.unlinkSync(child); Fs.renameSync(moved, child)
         }`,
        here.at("child"),
        here.at("moved"),
        here.outside(".")
      )
      const seen: Record<string, number> = {}
      const attempt = (round: number) =>
        Effect.gen(function* () {
          const child = yield* here.directories.openChild(here.directory, "child", subject)
          yield* here.directories.writeFile(child, `file ${round}`, bytesOf("new"), subject)
          yield* here.directories.remove(child, "precious", subject)
          yield* here.directories.remove(child, "deep", subject)
        }).pipe(Effect.scoped, Effect.either)
      const isEnough = () => Object.keys(seen).length >= 3 && "written" in seen
      for (let round = 0; round < 2_000 && !isEnough(); round++) {
        const result = yield* attempt(round)
        const outcome = Either.match(result, { onLeft: ({ reason }) => reason, onRight: () => "written" })
        seen[outcome] = (seen[outcome] ?? 0) + 1
      }
      expect(seen).toHaveProperty("written")
      expect(["missing", "symbolic-link", "not-a-directory", "written"]).toEqual(
        expect.arrayContaining(Object.keys(seen))
      )
    }))
})
