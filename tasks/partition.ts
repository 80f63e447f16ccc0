/**
 * Partitions text end to end: corpus, tokenizer, tokens, routers, scores, assignment, one folder of
 * shards per expert.
 *
 *   deno task partition --input 'docs/*.jsonl' --experts 8 --run runs/docs
 */
import { countText, percent } from "../pipeline/graph/numbers.ts";
import { task } from "../kernels/errors.ts";
import { CALLED_WORDS } from "../pipeline/partition/names.ts";
import { withPath } from "../pipeline/partition/tree/branches.ts";
import { field } from "../pipeline/settings/mod.ts";
import type { PartitionSummary } from "../pipeline/run/mod.ts";
import { defineTask } from "./cli/command.ts";
import { counted, lines, shortSourceName, table } from "./cli/layout.ts";
import { DEVICE, IN_A_RUN, PLANNED, take } from "./cli/options.ts";
import { planText, proofText } from "./cli/text.ts";
import { words } from "./cli/wording.ts";

const MOST_SOURCES = 6; // of an expert that are printed
const MOST_HELD_OUT = 12; // sources of which held-out text is printed
const NO_SOURCES =
  "none, as the text has no two sources; --source-field names the field that holds them";

/** Lays out the summary of a partition: a row per expert, then what holds for all. */
function summaryText(summary: PartitionSummary): string {
  const { nmi, costs, rounds, proof, levels = [], heldOut = {}, dropped } = summary;
  const rows = summary.experts.map(
    ({ expert, path, sequences, tokens, nllPerToken, words, sources }) => {
      const mix = Object.entries(sources)
        .map(([source, part]) => [source, Math.round(100 * part / Math.max(1, sequences))] as const)
        .filter(([, share]) => share > 0)
        .sort(([, a], [, b]) => b - a)
        .map(([source, share]) => `${shortSourceName(source)} ${share}%`);
      const [named, most] = [words.slice(0, CALLED_WORDS), mix.slice(0, MOST_SOURCES)];
      return [
        ...[withPath(expert, path), sequences, tokens, nllPerToken?.toFixed(3) ?? ""],
        ...[named.join(", "), most.join(", ")],
      ];
    },
  );
  const held = Object.entries(heldOut).map(([source, { documents, tokens }]) =>
    `${shortSourceName(source)} ${counted(documents, "documents")}, ${counted(tokens, "tokens")}`
  );
  const leftOut = Object.entries(dropped ?? {}).map(([reason, documents]) =>
    `${countText(documents)} ${reason}`
  )
    .join(", ");
  const last = rounds.at(-1)?.nmi;
  const nmiText = nmi === null
    ? NO_SOURCES
    : `${nmi.toFixed(3)} (0: experts tell nothing of the source, 1: all)`;
  const inLast = typeof last === "number"
    ? `; ${last.toFixed(3)} in the last of ${counted(rounds.length, "rounds")}`
    : "";
  const head = `expert | sequences | tokens | ${
    costs ? "mean cost" : "NLL/token"
  } | words | sources`;
  return "\n" + lines(
    table(head, rows, ["words"]) + "\n",
    proof && `assignment       ${proofText(proof, costs)}`,
    levels.map(({ loads, proof }, i) => {
      const [least, most] = [Math.min(...loads), Math.max(...loads)].map(countText);
      const proved = proof ? `; ${proofText(proof, costs)}` : "";
      return `level ${
        i + 1
      }          ${loads.length} loads of ${least} to ${most} sequences${proved}`;
    }),
    `token imbalance  ${percent(summary.tokenImbalance)} (largest expert over the mean)`,
    `NMI with source  ${nmiText}${inLast}`,
    held.length > 0 && `held out         ${held.slice(0, MOST_HELD_OUT).join("; ")}`,
    dropped !== undefined &&
      `left out         ${leftOut || "nothing"}; text/dropped.arrow lists what`,
    `root hash        ${summary.sha256}`,
    `run folder       ${summary.run}`,
    summary.stages.some(({ state }) => state === "run") &&
      `next             ${words(task("train-expert", { run: summary.run, expert: "all" }))}`,
  );
}

export const TASK = await defineTask({
  name: "partition",
  options: {
    ...IN_A_RUN,
    ...PLANNED,
    overlap: field.flag("look for duplicates and passages afterwards, as the task overlap does"),
    frozen: field.flag("refuse text or settings other than those that the run was made of"),
    ...take("workers"),
    ...DEVICE,
    ...take("requireGpu"),
  },
  run: async ({ sources, options, signal, onEvent, print }) => {
    if (options.dryRun) {
      const { planPartition } = await import("../pipeline/run/estimate.ts");
      const plan = await planPartition({ ...options, sources, device: options, words });
      return print(plan, planText(plan));
    }
    const { partition } = await import("../pipeline/run/partition.ts");
    const summary = await partition({ ...options, sources }, { signal, onEvent });
    if (!options.overlap) return print(summary, summaryText(summary));
    const { findOverlap, overlapLine } = await import("../pipeline/run/overlap.ts");
    const overlap = await findOverlap({ run: summary.run }, { signal, onEvent });
    print(
      { ...summary, overlap },
      `${summaryText(summary)}\noverlap          ${overlapLine(overlap)}`,
    );
  },
}, import.meta);
