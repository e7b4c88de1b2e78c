/**
 * How the host tells the agent's program what to do: questions and answers as files in a folder that both see. Each has
 * a name of its own and is renamed to it when it is whole. Both sides look by listing the folder, because a mount
 * may remember for a second that a name was not there.
 */
import { Effect } from "effect"
import * as Fs from "node:fs"
import * as Path from "node:path"

/** Reads by whom, how, of which session folder; writes; or serves a mailbox. Folders are relative to the share. */
export type Question =
  | { readonly ask: "time" }
  | {
      readonly ask: "read"
      readonly how: "snapshot" | "open" | "held"
      readonly folder: string
      readonly seconds: number
      readonly ahead: number
      /** How many other processes read the same file in the same way meanwhile. */
      readonly others: number
    }
  | { readonly ask: "write"; readonly folder: string; readonly rate: number }
  | { readonly ask: "serve"; readonly folder: string }
  | { readonly ask: "end" }

const put = (folder: string, name: string, value: unknown) => {
  Fs.writeFileSync(Path.join(folder, `${name}.new`), JSON.stringify(value ?? null))
  Fs.renameSync(Path.join(folder, `${name}.new`), Path.join(folder, name))
}

const has = (folder: string, name: string): boolean => Fs.readdirSync(folder).includes(name)

const until = (isThere: () => boolean, millis: number) =>
  Effect.async<void>((resume) => {
    const timer = setInterval(() => {
      if (!isThere()) return
      clearInterval(timer)
      resume(Effect.void)
    }, millis)
    return Effect.sync(() => clearInterval(timer))
  })

const take = (folder: string, name: string): unknown =>
  JSON.parse(Fs.readFileSync(Path.join(folder, name), "utf8"))

/** The host's end. */
export const dial = (folder: string) => {
  let count = 0
  return (question: Question) => {
    const id = String(++count)
    const answered = () => has(folder, `${id}.answer`)
    put(folder, `${id}.question`, question)
    return {
      hasAnswered: answered,
      hasBegun: until(() => has(folder, `${id}.begun`), 5),
      stop: Effect.sync(() => put(folder, `${id}.stop`, null)),
      answer: Effect.map(until(answered, 2), () => take(folder, `${id}.answer`))
    }
  }
}

/** What the agent can say and see while it answers. */
export interface Call {
  readonly begun: Effect.Effect<void>
  readonly isStopped: () => boolean
  readonly stopped: Effect.Effect<void>
}

/** The agent's end: answers one question after the other until it is told to end. */
export const pickUp = <E, R>(
  folder: string,
  answer: (question: Exclude<Question, { ask: "end" }>, call: Call) => Effect.Effect<unknown, E, R>
) =>
  Effect.gen(function* () {
    for (let id = 1; ; id++) {
      yield* until(() => has(folder, `${id}.question`), 5)
      const question = take(folder, `${id}.question`) as Question
      if (question.ask === "end") return put(folder, `${id}.answer`, null)
      const isStopped = () => has(folder, `${id}.stop`)
      const call = {
        begun: Effect.sync(() => put(folder, `${id}.begun`, null)),
        isStopped,
        stopped: until(isStopped, 20)
      }
      put(folder, `${id}.answer`, yield* answer(question, call))
    }
  })
