/**
 * The agent's copy of inbound.db: what it is, and what an agent that can write to its folder can do with it.
 */
import { describe, expect, it } from "@effect/vitest"
import { NodeContext } from "@effect/platform-node"
import { Context, Effect, Exit, Layer, Scope } from "effect"
import {
  AirlockConfig,
  AirlockHost,
  SessionDb,
  SessionManager,
  SessionPaths,
  SessionRegistry
} from "effect-airlock"
import { spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as StorageLayer from "../../src/storage/StorageLayer.js"
import { SqliteDriver } from "../../src/storage/SqliteDriver.js"
import { SystemCalls } from "../../src/storage/SystemCalls.js"
import * as Raw from "../support/Raw.js"
import * as TestHost from "../support/TestHost.js"

const program = Effect.gen(function* () {
  const manager = yield* SessionManager.SessionManager
  const db = yield* SessionDb.SessionDb
  const session = yield* TestHost.newSession()
  const folder = yield* TestHost.folderOf(session)
  const copy = `${folder}/inbound.db`
  return {
    db,
    session,
    folder,
    copy,
    look: db.publish(session),
    write: (id: string) => manager.writeMessage(session, { id, kind: "chat", content: "x" }),
    ids: () => Raw.query(copy, "SELECT id FROM messages_in ORDER BY seq").map(({ id }) => id),
    // Reading a FIFO would never end.
    isCopy: () => Fs.lstatSync(copy).isFile() && Fs.readFileSync(copy).equals(TestHost.publishedOf(folder))
  }
})

describe("the agent's copy of inbound.db", () => {
  it.effect("is whole, and another file each time", () =>
    Effect.gen(function* () {
      const { copy, folder, ids, isCopy, write } = yield* program
      const before = Fs.statSync(copy).ino
      const fd = Fs.openSync(copy, "r")
      const was = Fs.readFileSync(copy)
      yield* write("a")
      expect(ids()).toEqual(["a"])
      expect(isCopy()).toBe(true)
      expect(Fs.statSync(copy).ino).not.toBe(before)
      // Whoever has the one before open goes on reading that one.
      expect(Fs.readFileSync(fd).equals(was)).toBe(true)
      Fs.closeSync(fd)
      expect(Fs.readdirSync(folder).sort()).toEqual(["inbound.db", "inbox", "outbound.db", "outbox"])
    }).pipe(TestHost.withHost())
  )

  it.effect("is as it was, and the same file, when nothing has changed", () =>
    Effect.gen(function* () {
      const { copy, db, look, session, write } = yield* program
      yield* write("a")
      const before = Fs.statSync(copy, { bigint: true })
      yield* look
      yield* write("a")
      yield* Effect.scoped(Effect.flatMap(db.inbound(session), (sql) => sql`SELECT * FROM messages_in`))
      expect(Fs.statSync(copy, { bigint: true })).toMatchObject({ ino: before.ino, ctimeNs: before.ctimeNs })
    }).pipe(TestHost.withHost())
  )

  it.effect("has what a host's own SQL changed, also its tables", () =>
    Effect.gen(function* () {
      const { copy, db, session } = yield* program
      yield* Effect.scoped(Effect.flatMap(db.inbound(session), (sql) => sql`CREATE TABLE mine (x)`))
      yield* db.transaction(session, (sql) => sql`INSERT INTO mine VALUES (7)`)
      expect(Raw.query(copy, "SELECT x FROM mine")).toEqual([{ x: 7 }])
    }).pipe(TestHost.withHost())
  )

  it.effect("is made by the next host, if one was killed between the commit and the copy", () =>
    Effect.gen(function* () {
      const dataDir = yield* TestHost.temporaryDirectory
      const on = <A, E>(run: Effect.Effect<A, E, TestHost.Services>) =>
        Effect.provide(run, TestHost.layerAt(dataDir))
      const { copy, folder } = yield* on(Effect.tap(program, ({ write }) => write("a")))
      Raw.exec(TestHost.originalOf(folder), "UPDATE messages_in SET content = 'y'")
      Fs.writeFileSync(`${folder}/.inbound.db.new`, "half a file")
      yield* on(Effect.flatMap(program, ({ look }) => look))
      expect(Raw.query(copy, "SELECT content FROM messages_in")).toEqual([{ content: "y" }])
      expect(Fs.existsSync(`${folder}/.inbound.db.new`)).toBe(false)
    }).pipe(Effect.scoped)
  )

  it.effect(
    "is left alone by the next host if it is what it should be, and what a killed one left is not",
    () =>
      Effect.gen(function* () {
        const dataDir = yield* TestHost.temporaryDirectory
        const on = <A, E>(run: Effect.Effect<A, E, TestHost.Services>) =>
          Effect.provide(run, TestHost.layerAt(dataDir))
        const { copy, folder } = yield* on(Effect.tap(program, ({ look }) => look))
        const { ino } = Fs.statSync(copy)
        Fs.copyFileSync(copy, `${folder}/.inbound.db.new`)
        const session = { agentGroupId: "agent", sessionId: Path.basename(folder) }
        yield* on(Effect.flatMap(SessionDb.SessionDb, (db) => db.publish(session)))
        expect(Fs.statSync(copy).ino).toBe(ino)
        expect(Fs.existsSync(`${folder}/.inbound.db.new`)).toBe(false)
      }).pipe(Effect.scoped)
  )

  const planted: ReadonlyArray<readonly [what: string, plant: (path: string) => void]> = [
    ["is removed", () => {}],
    ["is a FIFO", (path) => spawnSync("mkfifo", [path])],
    ["is a link to another file", (path) => Fs.symlinkSync("/etc/passwd", path)],
    ["is empty", (path) => Fs.writeFileSync(path, "")],
    ["is something else", (path) => Fs.writeFileSync(path, "x".repeat(100_000))],
    ["is 1 TiB long", (path) => Fs.truncateSync((Fs.writeFileSync(path, ""), path), 2 ** 40)]
  ]
  for (const [what, plant] of planted) {
    it.effect(`is put right at the next look, and by the next write, when it ${what}`, () =>
      Effect.gen(function* () {
        const { copy, ids, isCopy, look, write } = yield* program
        yield* write("a")
        for (const next of [look, write("b"), look, write("c")]) {
          Fs.rmSync(copy)
          plant(copy)
          yield* next
          expect(isCopy()).toBe(true)
        }
        expect(ids()).toEqual(["a", "b", "c"])
      }).pipe(TestHost.withHost())
    )
  }

  for (const name of ["inbound.db-journal", "inbound.db-wal", "inbound.db-shm", ".inbound.db.new"]) {
    it.effect(`is written, whatever the agent puts at ${name}`, () =>
      Effect.gen(function* () {
        const { folder, ids, look, write } = yield* program
        const path = `${folder}/${name}`
        const plants: ReadonlyArray<() => void> = [
          () => spawnSync("mkfifo", [path]),
          () => Fs.symlinkSync("/etc/passwd", path),
          () => Fs.writeFileSync(path, "x".repeat(1000))
        ]
        for (const [index, plant] of plants.entries()) {
          plant()
          yield* write(String(index))
          yield* look
          Fs.rmSync(path, { force: true })
        }
        expect(ids()).toEqual(["0", "1", "2"])
      }).pipe(TestHost.withHost())
    )
  }

  it.effect("a directory in its place fails the look, and loses no message", () =>
    Effect.gen(function* () {
      const { copy, ids, look, write } = yield* program
      Fs.rmSync(copy)
      Fs.mkdirSync(`${copy}/inside`, { recursive: true })
      yield* write("a")
      expect(yield* Effect.flip(look)).toMatchObject({
        _tag: "UnsafePath",
        reason: "not-a-regular-file",
        path: copy
      })
      Fs.rmSync(copy, { recursive: true })
      yield* look
      expect(ids()).toEqual(["a"])
    }).pipe(TestHost.withHost())
  )

  it.effect("what it says is not believed: the host decides by its own", () =>
    Effect.gen(function* () {
      const { copy, db, folder, session } = yield* program
      Raw.exec(
        copy,
        `UPDATE session_routing SET platform_id = 'elsewhere';
         INSERT INTO destinations VALUES ('x', NULL, 'channel', 'test', 'elsewhere', NULL);
         INSERT INTO airlock_direct (id, seq, timestamp, kind, channel_type, platform_id, content)
           VALUES ('d', 2, '2026-01-01T00:00:00.000Z', 'chat', 'test', 'elsewhere', '{}');
         CREATE TRIGGER never AFTER INSERT ON messages_in BEGIN
           DELETE FROM messages_in; END`
      )
      const tables = yield* db.transaction(session, (sql) =>
        Effect.all([
          sql`SELECT platform_id FROM session_routing`,
          sql`SELECT name FROM destinations`,
          sql`SELECT id FROM airlock_direct`,
          sql`SELECT name FROM sqlite_schema WHERE type = 'trigger'`
        ])
      )
      expect(tables).toEqual([[{ platform_id: "chat" }], [], [], []])
      expect(Path.dirname(TestHost.originalOf(folder)).startsWith(folder)).toBe(false)
    }).pipe(TestHost.withHost())
  )
})

describe("what was just written", () => {
  /** A host that tells its writers as hosts do: when it is stored. Its clock for how long something takes is `time`. */
  const start = Effect.gen(function* () {
    const dataDir = yield* TestHost.temporaryDirectory
    const time = { now: 0 }
    const calls = Layer.effect(
      SystemCalls,
      Effect.map(SystemCalls, (calls) => SystemCalls.of({ ...calls, uptime: () => time.now }))
    ).pipe(Layer.provide(SystemCalls.layer))
    const scope = yield* Scope.make()
    const host = yield* AirlockHost.sessionsWithoutStorage.pipe(
      Layer.provideMerge(SessionRegistry.SessionRegistry.layerSqlite),
      Layer.provideMerge(SessionPaths.SessionPaths.layer),
      Layer.provideMerge(AirlockConfig.AirlockConfig.layer({ dataDir })),
      Layer.provide(StorageLayer.layerWithoutCalls),
      Layer.provide(Layer.merge(calls, SqliteDriver.layer)),
      Layer.provideMerge(NodeContext.layer),
      Layer.buildWithScope(scope)
    )
    const session = yield* Effect.provide(TestHost.newSession(), host)
    const folder = yield* Effect.provide(TestHost.folderOf(session), host)
    const manager = Context.get(host, SessionManager.SessionManager)
    const db = Context.get(host, SessionDb.SessionDb)
    return {
      time,
      folder,
      /** What stores nothing, and would be published soon if it did. */
      fail: Effect.ignore(db.transaction(session, () => Effect.fail("no"), { publish: "soon" })),
      end: Scope.close(scope, Exit.void),
      write: (id: string, ...files: ReadonlyArray<string>) =>
        manager.writeMessage(session, {
          id,
          kind: "chat",
          content: "x",
          attachments: files.map((name) => ({ name, source: { bytes: Buffer.from(name) } }))
        }),
      ids: () =>
        Raw.query(`${folder}/inbound.db`, "SELECT id FROM messages_in ORDER BY seq").map(({ id }) => id),
      copy: () => Fs.statSync(`${folder}/inbound.db`).ino
    }
  })

  it.scoped("is in the agent's copy right after its writer was told, together with what came meanwhile", () =>
    Effect.gen(function* () {
      const { copy, end, ids, write } = yield* start
      const before = copy()
      yield* write("a")
      yield* write("b")
      expect(copy()).toBe(before)
      yield* TestHost.until(() => ids().length > 0)
      expect(ids()).toEqual(["a", "b"])
      yield* write("c")
      yield* TestHost.until(() => ids().length > 2)
      yield* end
    })
  )

  it.scoped("waits for what is being written", () =>
    Effect.gen(function* () {
      const { copy, end, ids, write } = yield* start
      const before = copy()
      yield* write("a")
      // The event loop has turns while a file is waited for.
      yield* write("b", "file")
      yield* write("c", "file")
      expect(copy()).toBe(before)
      yield* TestHost.until(() => ids().length > 0)
      expect(ids()).toEqual(["a", "b", "c"])
      yield* end
    })
  )

  it.scoped("waits no longer than 50 milliseconds for others", () =>
    Effect.gen(function* () {
      const { end, ids, time, write } = yield* start
      yield* write("a")
      time.now += 49
      yield* write("b")
      expect(ids()).toEqual([])
      time.now += 1
      yield* write("c")
      expect(ids()).toEqual(["a", "b", "c"])
      yield* end
    })
  )

  it.scoped("is not forgotten over what fails after it, however much later", () =>
    Effect.gen(function* () {
      const { end, fail, ids, time, write } = yield* start
      yield* write("a")
      time.now += 60
      yield* fail
      yield* TestHost.until(() => ids().length > 0)
      expect(ids()).toEqual(["a"])
      yield* end
    })
  )

  it.scoped("is in the agent's copy before the host has ended", () =>
    Effect.gen(function* () {
      const { end, ids, write } = yield* start
      yield* write("a")
      expect(ids()).toEqual([])
      yield* end
      expect(ids()).toEqual(["a"])
    })
  )
})

describe("a folder of another host", () => {
  it.effect("is taken over once: what the agent writes there afterwards is not", () =>
    Effect.gen(function* () {
      const { copy, db, folder, session } = yield* program
      TestHost.forgetOriginal(folder)
      const insert = (id: string) =>
        `INSERT INTO messages_in (id, seq, kind, timestamp, content) VALUES ('${id}', 2, 'chat', '2026-01-01 10:00:00', 'x')`
      Raw.exec(copy, insert("theirs"))
      const ids = db.transaction(session, (sql) => sql<{ readonly id: string }>`SELECT id FROM messages_in`)
      expect(yield* ids).toEqual([{ id: "theirs" }])
      Raw.exec(copy, `UPDATE messages_in SET id = 'forged'`)
      expect(yield* ids).toEqual([{ id: "theirs" }])
    }).pipe(TestHost.withHost())
  )

  for (const [what, sql] of [
    ["a trigger", "CREATE TRIGGER t AFTER INSERT ON messages_in BEGIN DELETE FROM delivered; END"],
    ["a view", "CREATE VIEW v AS SELECT 1"],
    ["a virtual table", "CREATE VIRTUAL TABLE f USING fts5(x)"],
    ["a CHECK", "CREATE TABLE c (x CHECK (instr(zeroblob(200000), zeroblob(100000)||X'01') = 0))"],
    ["a computed column", "CREATE TABLE g (x, y AS (x + 1))"],
    ["a computed default", "CREATE TABLE d (x DEFAULT (random()))"],
    ["an index on an expression", "CREATE INDEX e ON messages_in (instr(content, 'x'))"],
    ["an index on some rows", "CREATE INDEX w ON messages_in (id) WHERE content > 'x'"]
  ] as const) {
    it.effect(`is refused, and left as it is, if it has ${what}`, () =>
      Effect.gen(function* () {
        const { copy, db, folder, session } = yield* program
        TestHost.forgetOriginal(folder)
        Raw.exec(copy, sql)
        const before = TestHost.contentsOf(folder)
        expect(yield* Effect.flip(Effect.scoped(db.inbound(session)))).toMatchObject({
          _tag: "SessionDbCorrupt",
          reason: "damaged"
        })
        expect(TestHost.contentsOf(folder)).toEqual(before)
        expect(Fs.existsSync(TestHost.originalOf(folder))).toBe(false)
      }).pipe(TestHost.withHost())
    )
  }
})
