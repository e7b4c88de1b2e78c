/**
 * Where files are quick to write and to sync, for tests that write thousands of times: how fast a disk is says nothing
 * about what they hold.
 */
import * as Fs from "node:fs"
import * as Os from "node:os"

const inMemory = "/dev/shm"
const enough = 256 * 1024 * 1024

const hasRoom = () => {
  if (!Fs.existsSync(inMemory)) return false
  const { bavail, bsize } = Fs.statfsSync(inMemory)
  return bavail * bsize >= enough
}

/** A folder in memory, if there is one with enough room, and nobody has said where temporary files belong. */
export const folder = process.env["TMPDIR"] === undefined && hasRoom() ? inMemory : Os.tmpdir()
