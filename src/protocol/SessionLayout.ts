/**
 * The names inside a session folder, which the agent's container sees as `/workspace`.
 *
 * ```text
 * inbound.db       for the agent: a copy of what the host has, replaced after each change
 * outbound.db      written by the agent, read by the host
 * .heartbeat       touched by the agent; only its modification time means anything
 * inbox/<id>/…     attachments for the agent
 * outbox/<id>/…    attachments from the agent
 * ```
 *
 * @since 0.1.0
 */

/**
 * @since 0.1.0
 * @category names
 */
export const inbound = "inbound.db"

/**
 * @since 0.1.0
 * @category names
 */
export const outbound = "outbound.db"

/**
 * @since 0.1.0
 * @category names
 */
export const heartbeat = ".heartbeat"

/**
 * @since 0.1.0
 * @category names
 */
export const inbox = "inbox"

/**
 * @since 0.1.0
 * @category names
 */
export const outbox = "outbox"

/**
 * The folder under the data directory that holds `<agentGroupId>/<sessionId>` folders.
 *
 * @since 0.1.0
 * @category names
 */
export const sessions = "v2-sessions"

/**
 * The folder under the data directory that holds `<agentGroupId>/<sessionId>/inbound.db`: what the host itself has, of
 * which the session folder has a copy. It is never mounted into a container.
 *
 * @since 0.1.0
 * @category names
 */
export const originals = "v2-originals"

/**
 * The central database under the data directory. It is never mounted into a container.
 *
 * @since 0.1.0
 * @category names
 */
export const central = "v2.db"

/**
 * Where an attachment lies, relative to the session folder and with `/` on every system, as message content
 * names it in `localPath`.
 *
 * @since 0.1.0
 * @category names
 */
export const inboxPath = (folder: string, name: string): string => `${inbox}/${folder}/${name}`
