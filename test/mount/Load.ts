/**
 * What the writers of these tests write and the readers check. Each transaction sets the two thousand rows of one table
 * to the number of its state, which changes about 150 pages, and lets the file grow for a while. A read that
 * finds two numbers has seen a state that never existed.
 */

const rows = 2000

/** Makes the tables, in the state 0. */
export const create = (at: number): ReadonlyArray<string> => [
  "CREATE TABLE load_state (state INTEGER NOT NULL, at INTEGER NOT NULL)",
  `INSERT INTO load_state VALUES (0, ${at})`,
  "CREATE TABLE load_rows (id INTEGER PRIMARY KEY, state INTEGER NOT NULL, text TEXT NOT NULL)",
  `WITH RECURSIVE ids (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM ids WHERE id < ${rows})
   INSERT INTO load_rows SELECT id, 0, printf('%0280d', id) FROM ids`,
  "CREATE TABLE load_log (state INTEGER PRIMARY KEY, text TEXT NOT NULL)"
]

/** Goes from one state to the next, in a transaction. `at` is the writer's clock, in milliseconds since 1970. */
export const advance = (at: number): ReadonlyArray<string> => [
  `UPDATE load_state SET state = state + 1, at = ${at}`,
  "UPDATE load_rows SET state = (SELECT state FROM load_state)",
  "INSERT INTO load_log SELECT state, printf('%03000d', state) FROM load_state",
  "DELETE FROM load_log WHERE state <= (SELECT state FROM load_state) - 60"
]

/** What there is to read of a state, as one row. */
export const look = `SELECT state, at, (SELECT count(*) FROM load_rows) AS rows,
  (SELECT min(state) FROM load_rows) AS least, (SELECT max(state) FROM load_rows) AS most,
  (SELECT max(state) FROM load_log) AS logged FROM load_state`

/** One read. `at` is when the writer began to write it, by the writer's clock. */
export interface Seen {
  readonly state: number
  readonly at: number
  readonly rows: number
  readonly least: number
  readonly most: number
  readonly logged: number | null
}

/** Whether it is one state. */
export const isWhole = ({ least, logged, most, rows: count, state }: Seen): boolean =>
  count === rows && least === state && most === state && (logged ?? 0) === state
