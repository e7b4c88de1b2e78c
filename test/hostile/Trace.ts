/**
 * What a process did to files, as `strace -f -y -e trace=%file` tells it.
 *
 * With `-y` the answer of a call that opens has the path that the kernel arrived at, after all links: that is what was
 * opened, whatever was asked for. Calls that change a name have their directory as a path, which may go through a
 * descriptor (`/proc/self/fd/9/name`); which directory that was, an earlier answer tells.
 */

/** A call that succeeded. `asked` are the paths as they were given, `opened` is where an opening one arrived. */
export interface FileCall {
  readonly call: string
  readonly asked: ReadonlyArray<string>
  readonly opened: string | undefined
  readonly line: string
}

const unquoted = (text: string): string =>
  text.replace(/\\(?:([0-7]{1,3})|x([0-9a-f]{2})|(.))/g, (_, octal?: string, hex?: string, other?: string) =>
    octal !== undefined
      ? String.fromCharCode(parseInt(octal, 8))
      : hex !== undefined
        ? String.fromCharCode(parseInt(hex, 16))
        : ({ n: "\n", t: "\t", r: "\r" }[other ?? ""] ?? other ?? "")
  )

/** Whether a path is another one, or below it. */
export const isBelow = (path: string, parent: string): boolean =>
  path === parent || path.startsWith(`${parent}/`)

/** The calls of a trace that succeeded, in their order. */
export const parse = (trace: string): ReadonlyArray<FileCall> => {
  const calls: Array<FileCall> = []
  const unfinished = new Map<string, string>()
  const descriptors = new Map<string, string>()
  for (const whole of trace.split("\n")) {
    const [, pid = "", rest = ""] = /^(\d+) +(.*)$/.exec(whole) ?? []
    const begun = /^(.*) <unfinished \.\.\.>$/.exec(rest)
    if (begun !== null) {
      unfinished.set(pid, begun[1] ?? "")
      continue
    }
    const resumed = /^<\.\.\. \w+ resumed>(.*)$/.exec(rest)
    const line = resumed === null ? rest : `${unfinished.get(pid) ?? ""}${resumed[1]}`
    const match = /^(\w+)\((.*)\) += (\d+)(?:<(.*)>)?$/.exec(line)
    if (match === null) continue
    const [, call = "", parameters = "", result = "", opened] = match
    const isOpening = /^open|^creat/.test(call)
    const asked = Array.from(parameters.matchAll(/"((?:[^"\\]|\\.)*)"/g), ([, text]) =>
      unquoted(text ?? "").replace(
        /^\/proc\/self\/fd\/(\d+)(?=\/|$)/,
        (self, fd: string) => descriptors.get(fd) ?? self
      )
    )
    const arrived = opened === undefined ? undefined : unquoted(opened)
    if (isOpening && arrived !== undefined) descriptors.set(result, arrived)
    calls.push({ call, asked, opened: isOpening ? arrived : undefined, line })
  }
  return calls
}
