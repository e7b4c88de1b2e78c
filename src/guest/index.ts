/**
 * The agent's half: what runs inside the sandbox.
 *
 * @since 0.1.0
 */
export * as Mailbox from "./Mailbox.js"
export * as AirlockError from "../protocol/AirlockError.js"
export * as AttachmentName from "../protocol/AttachmentName.js"
export * as Message from "../protocol/Message.js"
