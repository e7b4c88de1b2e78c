/**
 * Where a benchmark keeps its data: a folder of its own, which goes away at the end.
 */
import { Context, Effect, Layer } from "effect"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Baseline from "./Baseline.js"
import * as Facts from "./Facts.js"
import * as Ours from "./Ours.js"

export class Place extends Context.Tag("bench/Place")<
  Place,
  {
    readonly root: string
    /** A folder that nobody has used yet. */
    readonly fresh: (name: string) => Effect.Effect<string>
    readonly template: Baseline.Template
    /** How ours keeps a session's messages. */
    readonly durability: string
  }
>() {
  static readonly layer = (parent: string) =>
    Layer.scoped(
      Place,
      Effect.gen(function* () {
        const root = yield* Effect.acquireRelease(
          Effect.sync(() => Fs.realpathSync(Fs.mkdtempSync(Path.join(parent, ".bench-")))),
          (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true, force: true }))
        )
        const dataDir = Path.join(root, "template")
        const { durability, folder } = yield* Effect.scoped(
          Effect.gen(function* () {
            const ours = yield* Ours.host({ dataDir })
            const durability = yield* Facts.durabilityOf(ours, "template")
            return { durability, folder: yield* ours.folder(yield* ours.session("template")) }
          })
        )
        const template = yield* Effect.sync(() =>
          Baseline.template(dataDir, folder, Path.join(root, "template-files"))
        )
        let count = 0
        return {
          root,
          fresh: (name) => Effect.sync(() => Path.join(root, `${name}-${count++}`)),
          template,
          durability
        }
      })
    )
}

/** A host of each kind, each on a data directory of its own, until the scope closes. */
export const both = (name: string, options: Omit<Ours.Options, "dataDir"> = {}) =>
  Effect.gen(function* () {
    const { fresh, template } = yield* Place
    const ours = yield* Ours.host({ ...options, dataDir: yield* fresh(`${name}-ours`) })
    const directory = yield* fresh(`${name}-baseline`)
    const baseline = yield* Effect.acquireRelease(
      Effect.sync(() => Baseline.make(directory, template)),
      ({ close }) => Effect.sync(close)
    )
    return { ours, baseline }
  })
