/**
 * The storage of one process, with a moment to die before each call of the system and each statement that changes
 * something.
 *
 * A killed process leaves its writes to the system, so nothing here waits for the disk. Neither does anything wait for a
 * thread, so that it can be seen when nothing goes on any more.
 */
import * as FileSystem from "@effect/platform/FileSystem"
import { SystemError } from "@effect/platform/Error"
import { Effect, Layer, Option } from "effect"
import * as Fs from "node:fs"
import { OwnDatabases } from "../../src/storage/OwnDatabase.js"
import { OwnedNames } from "../../src/storage/OwnedNames.js"
import { PrivateDatabases } from "../../src/storage/PrivateDatabase.js"
import { SafeDirectories } from "../../src/storage/SafeDirectory.js"
import { Snapshots } from "../../src/storage/Snapshot.js"
import { SqliteDriver } from "../../src/storage/SqliteDriver.js"
import { SystemCalls } from "../../src/storage/SystemCalls.js"
import * as Seam from "../support/Seam.js"
import type { KillSwitch } from "./KillSwitch.js"
import { activity, isAlive } from "./KillSwitch.js"

/** Every host makes the same empty databases. */
const images = new Map<string, Uint8Array>()

const imageOnce = (driver: SqliteDriver["Type"], statements: ReadonlyArray<string>) =>
  Effect.suspend(() => {
    const key = statements.join()
    const known = images.get(key)
    if (known !== undefined) return Effect.succeed(known)
    return Effect.tap(driver.image(statements), (image) => Effect.sync(() => images.set(key, image)))
  })

const hasty = Layer.merge(
  Layer.effect(
    SystemCalls,
    Effect.map(SystemCalls, (calls) => ({ ...calls, sync: () => Effect.void }))
  ).pipe(Layer.provide(SystemCalls.layer)),
  Layer.effect(
    SqliteDriver,
    Effect.map(SqliteDriver, (driver) =>
      SqliteDriver.of({
        image: (statements) => imageOnce(driver, statements),
        connect: (options) =>
          Effect.tap(driver.connect(options), (client) => client`PRAGMA synchronous = OFF`)
      })
    )
  ).pipe(Layer.provide(SqliteDriver.layer))
)

const missing = (path: string) =>
  new SystemError({ module: "FileSystem", method: "read", reason: "NotFound", pathOrDescriptor: path })

/** What the system tells of processes is the number of the life, and whether it goes on. */
const processOf = ({ number }: KillSwitch, path: string): string | undefined => {
  if (path.endsWith("boot_id")) return "00000000-0000-0000-0000-000000000000"
  const [, asked = ""] = /^\/proc\/(\w+)\/stat$/.exec(path) ?? []
  const pid = asked === "self" ? number : Number(asked)
  return isAlive(pid) ? `${pid} (life) S${" 0".repeat(18)} ${pid} ` : undefined
}

/** Nobody else has anything there. */
const ours = { type: "Directory", uid: Option.some(1) } as FileSystem.File.Info

const privateFolder = (life: KillSwitch, copies: string) =>
  FileSystem.layerNoop({
    makeTempDirectoryScoped: (options) =>
      Effect.acquireRelease(
        Effect.sync(() => {
          Fs.mkdirSync(copies, { recursive: true })
          return Fs.mkdtempSync(`${copies}/${options?.prefix ?? ""}`)
        }),
        // A dead process tidies nothing.
        (path) => Effect.sync(() => life.isAlive() && Fs.rmSync(path, { recursive: true, force: true }))
      ),
    readFileString: (path) => {
      const text = processOf(life, path)
      return text === undefined ? Effect.fail(missing(path)) : Effect.succeed(text)
    },
    readLink: () => Effect.succeed("pid:[1]"),
    readDirectory: (path) => Effect.sync(() => Fs.readdirSync(path)),
    stat: () => Effect.succeed(ours),
    remove: (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true, force: true }))
  })

/** `copies` is where the process may keep what is only its own. `seam` may let a step fail. */
export const layer = (life: KillSwitch, copies: string, seam: Seam.Seam = () => undefined) =>
  Layer.mergeAll(OwnDatabases.layer, PrivateDatabases.layer, Snapshots.layer).pipe(
    Layer.provideMerge(Layer.merge(SafeDirectories.layer, OwnedNames.layer)),
    Layer.provide(privateFolder(life, copies)),
    Layer.provideMerge(
      Seam.layer(
        (step) => {
          if (step.isChange) life.moment()
          else activity.count++
          return seam(step)
        },
        (path) => path.startsWith(copies)
      ).pipe(Layer.provide(hasty))
    )
  )
