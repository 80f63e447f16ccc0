/**
 * Removes what a run made and needs no more: old checkpoints, and files that killed processes left.
 *
 *   deno task clean --run runs/a --dry-run
 */
import { field } from "../pipeline/settings/mod.ts";
import { cleanRun } from "../pipeline/stages/clean.ts";
import { defineTask } from "./command.ts";
import { RUN } from "./options.ts";
import { cleanedText } from "./text.ts";

export const TASK = await defineTask({
  name: "clean",
  options: {
    ...RUN,
    dryRun: field.flag({ help: "only say what would be removed" }),
    keep: field.integer({
      default: 0,
      min: 0,
      help: "checkpoints that stay of a training that is complete; of others the last two stay anyway",
    }),
  },
  run: async ({ options, signal, print }) => {
    const cleaned = await cleanRun(options, { signal });
    print(cleaned, cleanedText(cleaned));
  },
}, import.meta);
