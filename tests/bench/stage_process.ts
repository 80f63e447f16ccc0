/**
 * Runs stages of a run in processes of their own, with what their tasks run with, and measures
 * these.
 *
 * @module
 */

import process from "node:process";
import type { runOneStage } from "../../mod.ts";

/** What a process does: what `runOneStage` takes. */
export type Stage = Parameters<typeof runOneStage>[0];

/** What a process took. */
export interface Usage {
  /** Time on the clock from its start to its end, in seconds. */
  seconds: number;
  /** Peak resident memory, in KiB. */
  peak: number;
  /** What the stage said. */
  result: Record<string, unknown>;
}

/** With which flags and variables a process runs. */
interface How {
  flags: readonly string[];
  env: Record<string, string>;
}

/** Gives what a task itself runs with, so that what is measured is what a user gets. */
export async function asTask(task: string): Promise<How> {
  const { tasks } = JSON.parse(
    await Deno.readTextFile(new URL("../../deno.json", import.meta.url)),
  );
  const words = (tasks[task].command as string).split(" ");
  return {
    env: Object.fromEntries(words.slice(0, words.indexOf("deno")).map((word) => word.split("="))),
    flags: words.filter((word) => /^(--v8-flags|--allow|-P)/.test(word)),
  };
}

/**
 * Runs a module in a process of its own, and returns the last line that it prints. Throws an
 * `Error` where it fails.
 */
export async function inProcess(
  module: string,
  { env, flags }: How,
  args: string[],
): Promise<string> {
  const command = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", ...flags, module, ...args],
    env,
    stdout: "piped",
    stderr: "inherit",
  });
  const { success, stdout } = await command.output();
  if (!success) throw new Error(`Cannot measure as ${module} ${args[0]} must succeed: it failed`);
  return new TextDecoder().decode(stdout).trim().split("\n").at(-1)!;
}

/**
 * Runs a stage, or a part of it, in a process of its own, as the task of its name does. A process
 * cannot show less memory than the one that started it had reached, so this one must stay small.
 */
export async function runStageApart(stage: Stage): Promise<Usage> {
  const start = performance.now();
  const { peak, result } = JSON.parse(
    await inProcess(import.meta.url, await asTask(stage.stage), [JSON.stringify(stage)]),
  );
  return { seconds: (performance.now() - start) / 1000, peak, result };
}

if (import.meta.main) {
  const { runOneStage } = await import("../../mod.ts");
  const result = await runOneStage(JSON.parse(Deno.args[0]));
  console.log(JSON.stringify({ peak: process.resourceUsage().maxRSS, result }));
  Deno.exit(0);
}
