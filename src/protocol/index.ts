/**
 * What the two sides of a session agree on. Pure: imports `effect` alone.
 *
 * @since 0.1.0
 */
export * as AirlockError from "./AirlockError.js"
export * as AttachmentContent from "./AttachmentContent.js"
export * as AttachmentName from "./AttachmentName.js"
export * as Message from "./Message.js"
export * as PathSegment from "./PathSegment.js"
export * as Sequence from "./Sequence.js"
export * as Session from "./Session.js"
export * as SessionLayout from "./SessionLayout.js"
export * as Tables from "./Tables.js"
export * as Timestamp from "./Timestamp.js"
