/**
 * The agent's half: what runs inside the sandbox.
 *
 * @since 0.1.0
 */
export * as Mailbox from "./Mailbox.js"
