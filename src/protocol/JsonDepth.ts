/**
 * How deep a JSON text is nested. JSON of any depth can be read, but whoever walks through the value with a function
 * that calls itself runs out of stack, and what somebody else wrote is walked through by many.
 *
 * @since 0.1.0
 */
import * as Option from "effect/Option"
import * as AttachmentContent from "./AttachmentContent.js"

const quote = 0x22
const backslash = 0x5c

const opens = (code: number): boolean => code === 0x5b || code === 0x7b
const closes = (code: number): boolean => code === 0x5d || code === 0x7d

/** Whether brackets outside of strings are nested deeper, in a text of which nothing else is known. */
const isNested = (text: string, limit: number): boolean => {
  let depth = 0
  let isString = false
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (isString) {
      if (code === backslash) at++
      else if (code === quote) isString = false
    } else if (code === quote) isString = true
    else if (opens(code)) {
      if (++depth > limit) return true
    } else if (closes(code)) depth--
  }
  return false
}

/**
 * Whether a text is JSON in which arrays and objects are nested deeper than `limit`. Text that is not JSON may have any
 * number of brackets.
 *
 * @since 0.1.0
 * @category predicates
 */
export const exceeds = (text: string, limit: number): boolean =>
  isNested(text, limit) && Option.isSome(AttachmentContent.parseJson(text))
