/**
 * Starts processes that hold something in a run folder, for tests of what others do meanwhile.
 *
 * @module
 */

import { assertStringIncludes } from "@std/assert";
import type { LockOptions } from "../../../pipeline/run/lock.ts";
import { sendSignal } from "../../tasks/support.ts";

/** Starts a process that holds `name` in a run folder for task "other", until it is killed. */
export async function holder(
  run: string,
  name: string,
  options: LockOptions = {},
): Promise<Deno.ChildProcess> {
  const module = new URL("../../../pipeline/run/lock.ts", import.meta.url);
  const code = `import { lockRun } from "${module}";
    await lockRun(${JSON.stringify(run)}, ${JSON.stringify(name)}, "other", ${JSON.stringify(options)});
    console.log("held");
    setInterval(() => {}, 60_000);`;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--allow-read", "--allow-write", "--allow-sys=hostname", "--ext=ts", "-"],
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(code));
  await writer.close();
  const reader = child.stdout.getReader();
  assertStringIncludes(new TextDecoder().decode((await reader.read()).value), "held");
  await reader.cancel();
  return child;
}

/** Kills a process, and waits for its end. */
export async function kill(child: Deno.ChildProcess): Promise<void> {
  sendSignal(child, "SIGKILL");
  await child.status;
}
