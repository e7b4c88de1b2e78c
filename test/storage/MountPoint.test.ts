import { describe, expect, it } from "@effect/vitest"
import { Effect, Option } from "effect"
import * as MountPoint from "../../src/storage/MountPoint.js"
import * as Fixtures from "./Fixtures.js"

const table = `22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
30 27 0:40 / /data rw,nosuid shared:5 master:1 - fuse.bindfs /srv/real\\040data rw
31 27 0:41 / /data/new rw - tmpfs tmpfs rw
32 27 0:42 / /data/new rw - virtiofs share rw
33 27 0:43 / /with\\040blank\\134 rw - nfs4 server:/x - y rw
34 27 0:44 / /empty rw - 9p  rw
not a line
`

const typeOf = (path: string) => Option.map(MountPoint.find(table, path), ({ type }) => type)

describe("a mount point", () => {
  it("is the innermost one that a path lies on", () => {
    expect(typeOf("/")).toEqual(Option.some("ext4"))
    expect(typeOf("/srv")).toEqual(Option.some("ext4"))
    expect(typeOf("/database")).toEqual(Option.some("ext4"))
    expect(typeOf("/data")).toEqual(Option.some("fuse.bindfs"))
    expect(typeOf("/data/x/y")).toEqual(Option.some("fuse.bindfs"))
  })

  it("is the later one of two in the same place", () => {
    expect(typeOf("/data/new/x")).toEqual(Option.some("virtiofs"))
  })

  it("is told with what the kernel escapes, with and without optional fields", () => {
    expect(MountPoint.find(table, "/data")).toEqual(
      Option.some({ device: "0:40", mountPoint: "/data", type: "fuse.bindfs", source: "/srv/real data" })
    )
    expect(MountPoint.find(table, "/with blank\\/x")).toEqual(
      Option.some({ device: "0:43", mountPoint: "/with blank\\", type: "nfs4", source: "server:/x" })
    )
    expect(typeOf("/empty/x")).toEqual(Option.some("9p"))
  })

  it("is none without a table", () => {
    expect(MountPoint.find("", "/data")).toEqual(Option.none())
  })

  it("is known to have locks that cross it, or not to, or neither", () => {
    const types = [
      "ext4",
      "tmpfs",
      "overlay",
      "9p",
      "virtiofs",
      "fuse.bindfs",
      "fuse.grpcfuse",
      "nfs4",
      "cifs",
      "fuseblk",
      "constructor"
    ]
    expect(types.map(MountPoint.locksOf)).toEqual([
      "shared",
      "shared",
      "shared",
      "not-shared",
      "not-shared",
      "not-shared",
      "not-shared",
      "unknown",
      "unknown",
      "unknown",
      "unknown"
    ])
  })

  it.effect("is told by the system, where it tells", () =>
    Effect.gen(function* () {
      const found = yield* MountPoint.of("/proc/self")
      expect(Option.map(found, ({ mountPoint, type }) => ({ mountPoint, type }))).toEqual(
        process.platform === "linux" ? Option.some({ mountPoint: "/proc", type: "proc" }) : Option.none()
      )
    }).pipe(Effect.provide(Fixtures.layerWith(() => ({}))))
  )
})
