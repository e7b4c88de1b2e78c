/**
 * Names of temporary files and folders that say which process made them. A process that is killed leaves what it was
 * writing; the next one tells by the name that its owner is gone, and that of a living one it leaves alone.
 *
 * A name is `<prefix><pid>-<start>-<place>-<random>`. The place is the start of the system and the process namespace:
 * in another namespace the same number means another process. Where the system does not tell, the name has no owner.
 *
 * @since 0.1.0
 */
import { FileSystem } from "@effect/platform/FileSystem"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as ProcessIdentity from "./ProcessIdentity.js"

/**
 * What has become of the process that made a name: it still runs, it does not, or nobody here can tell.
 *
 * @since 0.1.0
 * @category models
 */
export type Owner = "alive" | "gone" | "unknown"

/**
 * @since 0.1.0
 * @category tags
 */
export class OwnedNames extends Context.Tag("effect-airlock/OwnedNames")<
  OwnedNames,
  {
    /** The part of a name that says whose it is. Empty where processes have no identity. */
    readonly mark: string
    /** A name that nobody has used yet. */
    readonly make: (prefix: string) => Effect.Effect<string>
    readonly ownerOf: (prefix: string, name: string) => Effect.Effect<Owner>
  }
>() {
  /**
   * @since 0.1.0
   */
  static readonly layer: Layer.Layer<OwnedNames, never, FileSystem> = Layer.effect(
    OwnedNames,
    Effect.suspend(() => make)
  )
}

const pattern = /^(\d{1,10})-(\d{1,20})-([0-9a-z]+)-/

const make = Effect.gen(function* () {
  const fileSystem = yield* FileSystem
  const identities = yield* ProcessIdentity.make
  const namespace = yield* Effect.option(fileSystem.readLink("/proc/self/ns/pid"))
  const self = Option.map(Option.all([identities.self, namespace]), ([identity, text]) => ({
    ...identity,
    place: `${identity.bootId.replaceAll("-", "").slice(0, 12)}${text.replace(/\D/g, "")}`
  }))
  const mark = Option.match(self, {
    onNone: () => "",
    onSome: ({ pid, place, startTicks }) => `${pid}-${startTicks}-${place}-`
  })

  const ownerOf = Effect.fnUntraced(function* (prefix: string, name: string) {
    const [, pid, startTicks, place] = pattern.exec(name.slice(prefix.length)) ?? []
    if (pid === undefined || startTicks === undefined || place === undefined) return "unknown"
    if (Option.isNone(self) || self.value.place !== place) return "unknown"
    const { bootId } = self.value
    return (yield* identities.isAlive({ bootId, pid: Number(pid), startTicks })) ? "alive" : "gone"
  })

  return OwnedNames.of({
    mark,
    make: (prefix) =>
      Effect.map(Random.nextIntBetween(0, 2 ** 48), (random) => `${prefix}${mark}${random.toString(36)}`),
    ownerOf
  })
})
