/**
 * Looks for duplicates among the documents of a run, and for passages of held-out documents, or of
 * named texts, in its training text.
 *
 *   deno task overlap --run runs/a --against data/arc_easy.jsonl
 */
import { field } from "../pipeline/settings/mod.ts";
import { defineTask } from "./cli/command.ts";
import { lines, table } from "./cli/layout.ts";
import { PLANNED, take } from "./cli/options.ts";
import { planText } from "./cli/text.ts";
import { words } from "./cli/wording.ts";

export const TASK = await defineTask({
  name: "overlap",
  options: {
    ...take("run", "force", "check", "part"),
    dryRun: PLANNED.dryRun,
    against: field.paths(
      { default: [] },
      "file of texts: also print which share 13 or 8 words in a row with training " +
        "text; repeatable; unless given, published questions that the run was asked",
    ),
  },
  run: async ({ options, signal, onEvent, print }) => {
    const { findOverlap, overlapLine, overlapTables, planOverlap } = await import(
      "../pipeline/run/overlap.ts"
    );
    if (options.dryRun) {
      const plan = await planOverlap({ ...options, words }, { onEvent });
      return print(plan, planText(plan));
    }
    const overlap = await findOverlap(options, { signal, onEvent });
    const tables = overlapTables(overlap).map(({ title, head, rows }) =>
      `\n${title}\n${table(head, rows)}`
    );
    const all = `all pairs   ${options.run}/overlap.arrow`;
    const none = Object.keys(overlap.against).length === 0 &&
      "named texts none: no published questions were asked, and --against names no file";
    print(
      { run: options.run, ...overlap },
      lines(tables, `\noverlap     ${overlapLine(overlap)}`, all, none),
    );
  },
}, import.meta);
