/**
 * Compares runs side by side, by what their folders hold.
 *
 *   deno task compare runs/em runs/ctbm --output compare.html
 */
import { countText } from "../pipeline/graph/numbers.ts";
import {
  type ComparedRun,
  compareRuns,
  type Comparison,
  comparisonTables,
  heldOutText,
} from "../pipeline/report/mod.ts";
import { field } from "../pipeline/settings/mod.ts";
import { defineTask } from "./cli/command.ts";
import { table } from "./cli/layout.ts";
import { worded, words } from "./cli/wording.ts";

const NONE = "-";

/** Gives a comparison in which remedies are commands. */
function comparisonJson({ runs, ...comparison }: Comparison): unknown {
  const lackLines = ({ lacks }: ComparedRun) =>
    lacks.map(({ because, command, ...lack }) => ({
      ...lack,
      because: because && worded(because),
      command: words(command),
    }));
  return { runs: runs.map((run) => ({ ...run, lacks: lackLines(run) })), ...comparison };
}

/**
 * Lays out a comparison: settings, partitions, evaluations, sources, prefixes, and what runs lack.
 */
function comparisonText(comparison: Comparison): string {
  const { runs, output } = comparison;
  const { lacks, ...tables } = comparisonTables(comparison, words);
  const blocks = [...Object.values(tables), prefixes(runs), lacks].map(({ head, rows, notes }) => {
    const cells = rows.map((row) => row.map((cell) => cell ?? NONE));
    const texts = head.filter((_, i) => cells.some((row) => /[a-z]{3}/.test(row[i])));
    const lines = notes.map((note) => `(${worded(note)})`);
    return [...cells.length === 0 ? [] : [table(head, cells, texts)], ...lines].join("\n");
  });
  const page = output === undefined ? "" : `\npage: ${output}`;
  return [...blocks.filter((block) => block !== ""), heldOutText(comparison) + page].join("\n\n");
}

function prefixes(runs: readonly ComparedRun[]) {
  const routed = runs.flatMap(({ name, routes, evaluation, experts }) =>
    routes && evaluation && experts > 1 ? [{ name, evaluation }] : []
  );
  const lengths = routed.flatMap(({ evaluation }) =>
    evaluation.prefixes.map(({ prefix }) => prefix)
  );
  const rows = [...new Set(lengths)].sort((a, b) => a - b).map((length) => [
    countText(length),
    ...routed.map(({ evaluation: { prefixes } }) =>
      prefixes.find(({ prefix }) => prefix === length)?.perplexity.toFixed(2)
    ),
  ]);
  return { head: ["prefix", ...routed.map(({ name }) => name)], rows, notes: [] };
}

export const TASK = await defineTask({
  name: "compare",
  startsAnew: true,
  positional: "RUN RUN…",
  options: {
    output: field.path({ value: "FILE" }, "HTML page with plots to write as well"),
  },
  run: async ({ paths, options, signal, onWarning, print }) => {
    const comparison = await compareRuns({ ...options, runs: paths, words, signal, onWarning });
    print(comparisonJson(comparison), comparisonText(comparison));
  },
}, import.meta);
