/**
 * One number line per session, shared by both databases, because agents name messages by number. The host
 * takes even numbers and the agent odd ones, so neither needs to ask the other. Gaps are normal.
 *
 * @since 0.1.0
 */

/**
 * The host's next number: the next even one above everything that the host has numbered in this session.
 * `last` is 0 when it has numbered nothing.
 *
 * @since 0.1.0
 * @category sequence
 */
export const nextHost = (last: number): number => last - (Math.abs(last) % 2) + 2

/**
 * The agent's next number: the next odd one above the largest in both databases. `largest` is 0 when both
 * are empty. The agent may see the host's latest numbers late: the parities keep the two apart all the same.
 *
 * @since 0.1.0
 * @category sequence
 */
export const nextAgent = (largest: number): number => (largest % 2 === 0 ? largest + 1 : largest + 2)
