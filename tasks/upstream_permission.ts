/**
 * Says how a server is started that may reach servers on other machines. A task's permissions are fixed in
 * `deno.json` before it reads its flags, so such a server is started without `deno task`.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { InputError, say, setting } from "../kernels/mod.ts";
import { quoted } from "./wording.ts";

/** The part of `deno.json` that is read. */
interface Project {
  permissions: { server: { net: string[] } };
  tasks: { serve: { command: string } };
}

/**
 * Throws an `InputError` where this process may not reach an upstream: it gives the command that starts the same
 * server with that permission. `args` are the arguments of the task.
 */
export async function checkUpstreams(
  upstreams: ReadonlyMap<number, string>,
  args: readonly string[] = Deno.args,
): Promise<void> {
  const refused: string[] = [];
  for (const host of new Set([...upstreams.values()].map((url) => new URL(url).host))) {
    const { state } = await Deno.permissions.query({ name: "net", host });
    if (state !== "granted") refused.push(host);
  }
  if (refused.length === 0) return;
  const project: Project = JSON.parse(await Deno.readTextFile(new URL("../deno.json", import.meta.url)));
  throw new InputError(
    say`Cannot forward to ${refused.join(" and ")} as a task may reach this machine alone, and ${
      setting("upstream")
    } names another`,
    { remedy: `run ${commandFor(project, refused, args)}` },
  );
}

/**
 * Writes the command of the task with more addresses that it may reach, as a shell takes it where the task was
 * called: its paths are meant from there.
 */
function commandFor(
  { tasks, permissions }: Project,
  hosts: readonly string[],
  args: readonly string[],
): string {
  const isElsewhere = ![undefined, Deno.cwd()].includes(Deno.env.get("INIT_CWD"));
  const file = isElsewhere ? fileURLToPath(new URL("serve.ts", import.meta.url)) : "tasks/serve.ts";
  const net = `--allow-net=${[...permissions.server.net, ...hosts]}`; // replaces what the set permits
  return [tasks.serve.command.replace("tasks/serve.ts", quoted(net)), ...[file, ...args].map(quoted)].join(
    " ",
  );
}
