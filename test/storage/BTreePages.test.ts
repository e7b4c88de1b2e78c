import { describe, expect, it } from "@effect/vitest"
import { Effect, Option } from "effect"
import { spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import { createRequire } from "node:module"
import * as Path from "node:path"
import * as BTreePages from "../../src/storage/BTreePages.js"
import * as DatabaseHeader from "../../src/storage/DatabaseHeader.js"
import * as SchemaRow from "../../src/storage/SchemaRow.js"
import * as Forgery from "../hostile/Forgery.js"
import * as TestHost from "../support/TestHost.js"

const flawOf = (bytes: Buffer, mostRows = 250_000) =>
  BTreePages.flawOf(bytes, Option.getOrThrow(DatabaseHeader.parse(bytes)), mostRows)

const withFile = <A>(test: (path: string) => A) =>
  Effect.scoped(Effect.map(TestHost.temporaryDirectory, (folder) => test(Path.join(folder, "made.db"))))

const driver = createRequire(createRequire(import.meta.url).resolve("@effect/sql-sqlite-node")).resolve(
  "better-sqlite3"
)

/** Whether another process comes to the end of a query within two seconds. */
const ends = (path: string, sql: string): boolean => {
  const program = `const d = new (require(process.argv[1]))(process.argv[2]); d.prepare(process.argv[3]).all()`
  return (
    spawnSync(process.execPath, ["-e", program, driver, path, sql], { timeout: 2000 }).error === undefined
  )
}

const rows = (n: number) => `WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < ${n})
  INSERT INTO messages_out (id, seq, timestamp, kind, content)
  SELECT 'm' || x, x, '', 'chat', printf('%.*c', x % 9000, 'x') FROM n`

describe("SchemaRow.parse", () => {
  /** What SQLite stores for a table, with two bytes of another kind as the name of what it is of. */
  const record = (kind: number, of: Buffer) => {
    const sql = "CREATE TABLE t(x)"
    const kinds = [13 + 2 * 5, 13 + 2 * 1, kind, 1, 13 + 2 * sql.length]
    return Buffer.concat([
      Buffer.from([6, ...kinds]),
      Buffer.from("tablet"),
      of,
      Buffer.from([2]),
      Buffer.from(sql)
    ])
  }

  it("takes no fractions and no bytes, in any column", () => {
    expect(SchemaRow.parse(record(15, Buffer.from("t")))).toMatchObject({ name: "t", root: 2 })
    expect(SchemaRow.parse(record(7, Buffer.alloc(8)))).toBe(undefined)
    expect(SchemaRow.parse(record(14, Buffer.alloc(1)))).toBe(undefined)
    // Kinds that SQLite keeps for itself.
    expect(SchemaRow.parse(record(10, Buffer.alloc(0)))).toBe(undefined)
  })
})

describe("BTreePages.flawOf", () => {
  it.effect("finds nothing in what SQLite writes", () =>
    withFile((path) => {
      const written: ReadonlyArray<readonly [what: string, sql: string]> = [
        ["an empty file", ""],
        ["rows on one page, on several levels, and longer than a page", rows(4000)],
        ["rows that were removed", `${rows(3000)}; DELETE FROM messages_out WHERE seq % 3 > 0`],
        ["small pages", `${rows(300)}; PRAGMA page_size = 512; VACUUM`],
        ["large pages", `${rows(900)}; PRAGMA page_size = 65536; VACUUM`],
        ["pages that move by themselves", `PRAGMA auto_vacuum = FULL; VACUUM; ${rows(900)}`],
        [
          "tables without row ids",
          `CREATE TABLE w (a TEXT PRIMARY KEY, b) WITHOUT ROWID;
          INSERT INTO w SELECT hex(randomblob(9)) || id, content FROM messages_out; ${rows(200)};
          INSERT INTO w SELECT hex(randomblob(9)) || id || content, content FROM messages_out`
        ],
        [
          "large and negative numbers",
          `CREATE TABLE r (i INTEGER PRIMARY KEY);
          INSERT INTO r VALUES (-1), (9223372036854775807), (-9223372036854775808)`
        ],
        ["statistics", `${rows(500)}; ANALYZE`],
        [
          "other things of the agent's own",
          `CREATE TABLE "o""dd ] name" (a INTEGER PRIMARY KEY AUTOINCREMENT, b CHECK (b > 0));
          CREATE TABLE [in brackets] (x); CREATE TABLE 'in quotes' (x); CREATE TABLE IF NOT EXISTS größe$ (x);
          ALTER TABLE größe$ RENAME TO später; CREATE UNIQUE INDEX IF NOT EXISTS u ON später (x) WHERE x > 0;
          CREATE INDEX e ON später (abs(x)); CREATE VIEW IF NOT EXISTS v AS SELECT 1; CREATE VIRTUAL TABLE f USING fts5(x);
          CREATE TRIGGER IF NOT EXISTS t AFTER INSERT ON später BEGIN SELECT 1; END; INSERT INTO f VALUES ('a')`
        ]
      ]
      for (const [what, sql] of written) {
        expect([what, flawOf(Forgery.database(path, sql))]).toEqual([what, undefined])
      }
    })
  )

  it.effect("finds a tree that SQLite does not come to the end of", () =>
    withFile((path) => {
      const whole = Forgery.database(path)
      const root = Forgery.rootOf(path, whole, "messages_out")
      const bytes = Forgery.sharedPages(whole, root)
      Fs.writeFileSync(path, bytes)
      expect(bytes.length).toBeLessThan(200_000)
      expect(ends(path, "SELECT count(*) FROM processing_ack")).toBe(true)
      expect(ends(path, "SELECT count(content) FROM messages_out")).toBe(false)
      expect(flawOf(bytes)).toBe("damaged")
      // The table that the host does not ask for is not looked at by SQLite, and is by this.
      const other = Forgery.sharedPages(whole, Forgery.rootOf(path, whole, "session_state"))
      expect(flawOf(other)).toBe("damaged")
    })
  )

  it.effect("finds pages that are reached in another way than once", () =>
    withFile((path) => {
      const whole = Forgery.database(path)
      const root = Forgery.rootOf(path, whole, "messages_out")
      const overflow = Forgery.sharedOverflow(whole, root, 3_000_000)
      Fs.writeFileSync(path, overflow)
      // SQLite reads such texts: three of them from one page.
      expect(ends(path, "SELECT length(id) FROM messages_out")).toBe(true)
      for (const bytes of [
        overflow,
        Forgery.cyclicPages(whole, root),
        Forgery.missingPages(whole, root),
        Forgery.hugeText(whole, root),
        Forgery.overlappingCells(whole, root),
        Forgery.sharedSchema(whole),
        whole.subarray(0, whole.length - 4096)
      ]) {
        expect(flawOf(bytes)).toBe("damaged")
      }
    })
  )

  it.effect("finds a schema that says something else than SQLite would have", () =>
    withFile((path) => {
      const change = (set: string, name = "messages_out") =>
        `UPDATE sqlite_schema SET ${set} WHERE name = '${name}'`
      for (const sql of [
        // A row that says table beside the text of a view, and one whose name is another's.
        change("sql = 'CREATE VIEW messages_out AS SELECT 1 AS id', rootpage = 0"),
        change("type = 'table', sql = 'CREATE VIEW messages_out AS SELECT 1 AS id'"),
        change("sql = replace(sql, 'TABLE messages_out', 'TABLE other')"),
        change("sql = replace(sql, 'TABLE messages_out', 'TABLE  messages_out')"),
        change("sql = sql || char(0)"),
        change("rootpage = 2.5"),
        change("rootpage = 1"),
        change("rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'processing_ack')"),
        change("sql = NULL"),
        change("sql = NULL, name = 'other'", "sqlite_autoindex_messages_out_1"),
        // Names that queries mean SQLite's own by.
        `CREATE VIRTUAL TABLE json_each USING fts5(value)`,
        `CREATE TABLE "PRAGMA_table_info" (x)`,
        `INSERT INTO sqlite_schema VALUES ('table', 'sqlite_stat1', 'sqlite_stat1',
          (SELECT rootpage FROM sqlite_schema WHERE name = 'session_state'),
          'CREATE TABLE sqlite_stat1(tbl,idx,stat AS (hex(zeroblob(500000000))))');
         DELETE FROM sqlite_schema WHERE name LIKE '%session_state%'`,
        // Too much of it.
        Array.from({ length: 257 }, (_, n) => `CREATE VIEW v${n} AS SELECT 1`).join(";"),
        `CREATE VIEW v AS SELECT '${"x".repeat(300_000)}'`
      ]) {
        expect([sql.slice(0, 200), flawOf(Forgery.withSchema(path, sql))]).toEqual([
          sql.slice(0, 200),
          "damaged"
        ])
      }
    })
  )

  it.effect("counts the rows of each table, and of each index", () =>
    withFile((path) => {
      const bytes = Forgery.database(path, rows(1000))
      expect(flawOf(bytes, 1000)).toBe(undefined)
      expect(flawOf(bytes, 999)).toBe("too-many-rows")
      const whole = Forgery.database(path)
      const tiny = Forgery.tinyRows(whole, Forgery.rootOf(path, whole, "messages_out"), 2000)
      expect(flawOf(tiny)).toBe("too-many-rows")
      expect(flawOf(tiny, 2000 * 680)).toBe(undefined)
    })
  )

  it.effect("says damaged, and no more, of any bytes in any place", () =>
    withFile((path) => {
      const whole = Forgery.database(path, rows(40))
      let sound = 0
      for (let seed = 0; seed < 400; seed++) {
        const bytes = Buffer.from(whole)
        for (let n = 0, x = seed + 1; n < 8; n++) {
          x = (x * 48_271) % 2_147_483_647
          bytes[100 + (x % (bytes.length - 100))] = x >> 8
        }
        const flaw = flawOf(bytes)
        if (flaw === undefined) sound++
        else expect(flaw).toBe("damaged")
      }
      expect(sound).toBeGreaterThan(0)
      expect(sound).toBeLessThan(400)
    })
  )
})
