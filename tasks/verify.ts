/**
 * Verifies a run folder: hashes, counts, and that every sequence is in exactly one expert's shards.
 *
 *   deno task verify runs/a
 */
import { OPTIONS, verifyRun } from "../mod.ts";
import { runTask } from "./command.ts";
import { verifyText } from "./text.ts";

if (import.meta.main) {
  await runTask({
    name: "verify",
    startsAnew: true,
    about:
      "Verifies hashes, counts and loads of a run, and that every sequence is in exactly one expert's shards.",
    positional: "[RUN]",
    run: async ({ paths, options, signal }) => {
      if (paths.length > 1) {
        throw new TypeError(`Cannot verify as one run must be named: "${paths[1]}" is a second one`);
      }
      if (paths.length === 1 && options.run !== OPTIONS.run.default) {
        throw new TypeError(`Cannot verify as one run must be named: "${paths[0]}" is one, --run another`);
      }
      const run = paths[0] ?? options.run;
      const report = await verifyRun(run, () => signal.throwIfAborted());
      console.log(options.json ? JSON.stringify({ run, ...report }, null, 2) : verifyText(run, report));
      const { length } = report.problems;
      if (length > 0) {
        const found = length === 1 ? "1 problem was found" : `${length} problems were found`;
        throw new Error(`Cannot vouch for "${run}" as all must be right: ${found}`);
      }
    },
  });
}
