/**
 * Reports how a server is started that may reach servers on other machines. A task's permissions are fixed in
 * `deno.json` before it reads its flags, so such a server is started without `deno task`.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { InputError, say, setting } from "../kernels/mod.ts";
import { quoted } from "./wording.ts";

/**
 * Throws an `InputError` where this process may not reach an upstream: it gives the command that starts the same server with that
 * permission, as a shell takes it where the task was called. `args` are the arguments of the task.
 */
export async function checkUpstreams(
  upstreams: ReadonlyMap<number, string>,
  args: readonly string[] = Deno.args,
): Promise<void> {
  const hosts = new Set([...upstreams.values()].map((url) => new URL(url).host));
  const states = await Promise.all([...hosts].map((host) => Deno.permissions.query({ name: "net", host })));
  const refused = [...hosts].filter((_, i) => states[i].state !== "granted");
  if (refused.length === 0) return;
  const { tasks, permissions } = JSON.parse(
    await Deno.readTextFile(new URL("../deno.json", import.meta.url)),
  );
  const net = `--allow-net=${[...permissions.server.net, ...refused]}`; // replaces what the set permits
  const isElsewhere = ![undefined, Deno.cwd()].includes(Deno.env.get("INIT_CWD"));
  const file = isElsewhere ? fileURLToPath(new URL("serve.ts", import.meta.url)) : "tasks/serve.ts";
  const start = tasks.serve.command.replace("tasks/serve.ts", () => [net, file].map(quoted).join(" "));
  throw new InputError(
    say`Cannot forward to ${refused.join(" and ")} as a task may reach this machine alone, and ${
      setting("upstream")
    } names another`,
    { remedy: `run ${[start, ...args.map(quoted)].join(" ")}` },
  );
}
