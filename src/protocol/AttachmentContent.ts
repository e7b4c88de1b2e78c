/**
 * Attachments inside message content: `content.attachments` is an array whose entries may carry their bytes
 * as base64 in `data`. Once the bytes are in a file, the entry names the file instead.
 *
 * @since 0.1.0
 */
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"

/**
 * @since 0.1.0
 * @category models
 */
export type JsonObject = { readonly [key: string]: unknown }

/**
 * Whether a value is a JSON object: not null, and not an array.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isJsonObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const decodeJson = Schema.decodeUnknownOption(Schema.parseJson())

/**
 * The value that a content text stands for, or none if it is not JSON.
 *
 * @since 0.1.0
 * @category parsing
 */
export const parseJson = (content: string): Option.Option<unknown> => decodeJson(content)

/**
 * The entries of `content.attachments` that carry bytes, with their position in the array. Empty for content
 * that is not a JSON object, or has no such array.
 *
 * @since 0.1.0
 * @category parsing
 */
export const embedded = (
  content: unknown
): ReadonlyArray<{ readonly index: number; readonly entry: JsonObject & { readonly data: string } }> =>
  isJsonObject(content) && Array.isArray(content["attachments"])
    ? content["attachments"].flatMap((entry: unknown, index) =>
        isJsonObject(entry) && typeof entry["data"] === "string"
          ? [{ index, entry: { ...entry, data: entry["data"] } }]
          : []
      )
    : []

/**
 * Whether a text is base64, in the standard or the URL-safe alphabet, with or without padding, and with line
 * breaks anywhere. The empty text is: no bytes.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isBase64 = (data: string): boolean => {
  const text = data.replace(/[\r\n\t ]+/g, "").replace(/={1,2}$/, "")
  return /^[A-Za-z0-9+/_-]*$/.test(text) && text.length % 4 !== 1
}

/**
 * An entry whose bytes are now in a file: `data` is gone, `name` and `localPath` tell where they are.
 *
 * @since 0.1.0
 * @category rewriting
 */
export const placed = (entry: JsonObject, name: string, localPath: string): JsonObject => {
  const rest = Object.entries(entry).filter(([key]) => key !== "data")
  return { ...Object.fromEntries(rest), name, localPath }
}

/**
 * The content with the entries at `replaced`'s positions replaced, and `added` at the end. Content that is
 * not a JSON object becomes the `text` of one, which is how agents read plain text.
 *
 * @since 0.1.0
 * @category rewriting
 */
export const rewrite = (
  text: string,
  content: Option.Option<unknown>,
  replaced: ReadonlyMap<number, JsonObject>,
  added: ReadonlyArray<JsonObject>
): string => {
  if (replaced.size === 0 && added.length === 0) return text
  const object = Option.getOrElse(Option.filter(content, isJsonObject), (): JsonObject => ({ text }))
  const present: ReadonlyArray<unknown> = Array.isArray(object["attachments"]) ? object["attachments"] : []
  const attachments = [...present.map((entry, index) => replaced.get(index) ?? entry), ...added]
  return JSON.stringify({ ...object, attachments })
}
