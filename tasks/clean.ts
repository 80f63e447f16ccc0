/**
 * Removes what a run made and needs no more: old checkpoints, and files that killed processes left.
 *
 *   deno task clean --run runs/a --dry-run
 */
import { processText } from "../pipeline/graph/lock.ts";
import { binaryBytes } from "../pipeline/graph/numbers.ts";
import { field } from "../pipeline/settings/mod.ts";
import type { Cleaned } from "../pipeline/run/mod.ts";
import { defineTask } from "./cli/command.ts";
import { counted, lines } from "./cli/layout.ts";
import { take } from "./cli/options.ts";

/** Reports what was removed of a run, and what stays as somebody works at it. */
function cleanedText({ run, dryRun, checkpoints, unfinished, left }: Cleaned): string {
  const parts = ([[checkpoints, "checkpoints"], [unfinished, "unfinished files"]] as const)
    .filter(([{ files }]) => files > 0)
    .map(([{ files, bytes: size }, name]) => `${counted(files, name)} (${binaryBytes(size)})`);
  return lines(
    `${run}: ${dryRun ? "would remove" : "removed"} ${parts.join(" and ") || "nothing"}`,
    left.map(({ place, holders }) => {
      const processes = holders.map(processText).join(", ");
      return `left ${place}, as ${processes || "another process"} works at it`;
    }),
  );
}

export const TASK = await defineTask({
  name: "clean",
  options: {
    ...take("run"),
    dryRun: field.flag("only say what would be removed"),
    keep: field.integer(
      { default: 0, min: 0 },
      "checkpoints that stay of a training that is complete; of others the last two stay anyway",
    ),
  },
  run: async ({ options, signal, print }) => {
    const { cleanRun } = await import("../pipeline/run/clean.ts");
    const cleaned = await cleanRun(options, { signal });
    print(cleaned, cleanedText(cleaned));
  },
}, import.meta);
