/**
 * Asking somebody, and waiting for the answer. The host writes answers as `system` messages.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { InvalidMessage, StorageError } from "../protocol/AirlockError.js"
import type { JsonObject } from "../protocol/AttachmentContent.js"
import type { InboundRow } from "../protocol/Message.js"
import { Acknowledgements } from "./Acknowledgements.js"
import type { Addressed } from "./Addresses.js"
import { Inbound } from "./Inbound.js"
import { Outgoing } from "./Outgoing.js"
import * as UniqueId from "./UniqueId.js"

/**
 * A question, and where it goes. The channel gets a message of kind `chat-sdk` whose content is a `Message.AskedQuestion`,
 * and its host answers with `SessionManager.writeSystemResponse`.
 *
 * - `options`: what to choose from, each a text or what the channel makes of an object
 * - `content`: whatever else the channel wants to know; it becomes part of the message
 * - `questionId`: the agent's own; without one there is a new one. Whoever asks again under one id, after a restart say,
 *   is answered by whichever answer to it comes, or has come and was not taken
 * - `timeout`: how long to wait for the answer; 5 minutes if nothing else is said
 *
 * @since 0.1.0
 * @category models
 */
export interface Question extends Addressed {
  readonly question: string
  readonly title?: string | undefined
  readonly options?: ReadonlyArray<string | JsonObject> | undefined
  readonly content?: JsonObject | undefined
  readonly questionId?: string | undefined
  readonly timeout?: Duration.DurationInput | undefined
}

/**
 * What the host wrote as the answer. `status` and `result` are the channel's words.
 *
 * @since 0.1.0
 * @category models
 */
export const Answer = Schema.Struct({
  questionId: Schema.String,
  status: Schema.String,
  result: Schema.optional(Schema.Unknown)
})

/**
 * @since 0.1.0
 * @category models
 */
export type Answer = typeof Answer.Type

const decodeAnswer = Schema.decodeUnknownOption(
  Schema.parseJson(Schema.Struct({ type: Schema.Literal("question_response"), ...Answer.fields }))
)

/** The answers among the messages that are pending, the oldest first. */
const answersTo = (questionId: string, pending: ReadonlyArray<InboundRow>) =>
  pending
    .flatMap(({ content, id, kind }) =>
      kind === "system"
        ? Option.toArray(
            Option.map(decodeAnswer(content), ({ questionId, result, status }) => ({
              id,
              answer: { questionId, status, result }
            }))
          )
        : []
    )
    .filter(({ answer }) => answer.questionId === questionId)
    .reverse()

const isRetryable = (error: StorageError): boolean =>
  error._tag === "SessionDbUnavailable" && error.isRetryable

/**
 * The question asker of a mailbox; none is the answer to a question that nobody answered in time. It looks as
 * often as `interval` says. Files that cannot be read for a moment are looked at again.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  interval: Duration.Duration
): Effect.Effect<
  (question: Question) => Effect.Effect<Option.Option<Answer>, StorageError | InvalidMessage>,
  never,
  Acknowledgements | Inbound | Outgoing
> =>
  Effect.gen(function* () {
    const acknowledgements = yield* Acknowledgements
    const inbound = yield* Inbound
    const outgoing = yield* Outgoing
    const operation = "Mailbox.ask"

    const look = Effect.fnUntraced(function* (questionId: string) {
      const { pending } = yield* inbound.current(operation)
      const answers = answersTo(questionId, pending)
      if (answers.length === 0) return Option.none<Answer>()
      const taken = yield* acknowledgements.all(operation)
      const found = answers.find(({ id }) => !taken.has(id))
      if (found === undefined) return Option.none<Answer>()
      yield* acknowledgements.finish(operation, [found.id], "completed")
      return Option.some(found.answer)
    })

    const lookAgain = (questionId: string) =>
      Effect.catchIf(look(questionId), isRetryable, (error) =>
        Effect.as(Effect.logWarning(error.message), Option.none<Answer>())
      )

    // The deadline is looked at between two looks: interrupting one could lose an answer that was found.
    const waitUntil = Effect.fnUntraced(function* (questionId: string, deadline: number) {
      for (;;) {
        const answer = yield* lookAgain(questionId)
        const left = deadline - (yield* Clock.currentTimeMillis)
        if (Option.isSome(answer) || left <= 0) return answer
        yield* Effect.sleep(Duration.min(interval, Duration.millis(left)))
      }
    })

    return Effect.fn(operation)(function* (question: Question) {
      const { channelType, inReplyTo, options, platformId, threadId, title, to } = question
      const questionId = question.questionId ?? (yield* UniqueId.make("question"))
      const timeout = Duration.toMillis(question.timeout ?? "5 minutes")
      yield* outgoing.post(operation, {
        kind: "chat-sdk",
        content: {
          ...question.content,
          type: "ask_question",
          questionId,
          title,
          question: question.question,
          options
        },
        to,
        channelType,
        platformId,
        threadId,
        inReplyTo
      })
      return yield* waitUntil(questionId, (yield* Clock.currentTimeMillis) + timeout)
    })
  })
