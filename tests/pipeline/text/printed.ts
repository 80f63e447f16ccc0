import { ROOT } from "../../tasks/support.ts";

/** Runs a script in a process of its own, and gives what it prints on standard output. */
export async function printed(script: string): Promise<string> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--allow-ffi", "--allow-read", "--ext=js", "-"],
    cwd: ROOT,
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  await ReadableStream.from([new TextEncoder().encode(script)]).pipeTo(child.stdin);
  const { stdout } = await child.output();
  return new TextDecoder().decode(stdout);
}
