/**
 * Partitions text end to end: corpus, tokenizer, tokens, routers, scores, assignment, one folder of shards per expert.
 *
 *   deno task partition --input 'docs/*.jsonl' --experts 8 --run runs/docs
 */
import { field } from "../pipeline/settings/mod.ts";
import { defineTask } from "./command.ts";
import { DEVICE, IN_A_RUN, take } from "./options.ts";
import { planText, speedText, summaryText } from "./text.ts";
import { words } from "./wording.ts";

export const TASK = await defineTask({
  name: "partition",
  options: {
    ...IN_A_RUN,
    dryRun: field.flag("print what would run, with estimates of time, disk and memory"),
    overlap: field.flag("look for duplicates and passages afterwards, as the task overlap does"),
    frozen: field.flag("refuse text or settings other than those that the run was made of"),
    ...take("flops", "utilisation", "workers"),
    ...DEVICE,
    ...take("requireGpu"),
  },
  run: async ({ sources, options, signal, onEvent, print }) => {
    if (options.dryRun) {
      const { planPartition } = await import("../pipeline/stages/estimate.ts");
      const plan = await planPartition({ ...options, sources, device: speedText(options), words });
      return print(plan, planText(plan));
    }
    const { partition } = await import("../pipeline/stages/partition.ts");
    const summary = await partition({ ...options, sources }, { signal, onEvent });
    if (!options.overlap) return print(summary, summaryText(summary));
    const { findOverlap, overlapLine } = await import("../pipeline/stages/overlap.ts");
    const overlap = await findOverlap({ run: summary.run }, { signal, onEvent });
    print({ ...summary, overlap }, `${summaryText(summary)}\noverlap          ${overlapLine(overlap)}`);
  },
}, import.meta);
