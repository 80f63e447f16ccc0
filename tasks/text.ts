/**
 * Lays out results for a person to read.
 *
 * @module
 */

import type { PartitionPlan, PartitionSummary, ShownRow, TrainResult, VerifyReport } from "../mod.ts";

/** Lays rows out in columns: the first one to the left, numbers to the right. */
export function table(rows: string[][]): string {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows.map((row) =>
    row.map((cell, i) => i === 0 || i === row.length - 1 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))
      .join("  ")
      .trimEnd()
  ).join("\n");
}

const count = (value: number): string => value.toLocaleString("en");
const percent = (value: number): string => `${(100 * value).toFixed(1)}%`;

/** Lays out the summary of a partition: a row per expert, then what holds for all. */
export function summaryText(summary: PartitionSummary): string {
  const rows = summary.experts.map(({ expert, sequences, tokens, nllPerToken, sources }) => {
    const mix = Object.entries(sources)
      .sort(([, a], [, b]) => b - a)
      .map(([source, part]) => `${source || "(none)"} ${Math.round(100 * part / Math.max(1, sequences))}%`);
    return [
      String(expert),
      count(sequences),
      count(tokens),
      nllPerToken?.toFixed(3) ?? "",
      mix.slice(0, 6).join(", "),
    ];
  });
  const last = summary.rounds.at(-1);
  return [
    "",
    table([["expert", "sequences", "tokens", "NLL/token", "sources"], ...rows]),
    "",
    `token imbalance  ${percent(summary.tokenImbalance)} (largest expert over the mean)`,
    `NMI with source  ${
      summary.nmi === null
        ? "none, as the text has no two sources; --source-field names the field that holds them"
        : `${summary.nmi.toFixed(3)} (0: experts tell nothing of the source, 1: all)`
    }` +
    (typeof last?.nmi === "number"
      ? `; ${last.nmi.toFixed(3)} in the last of ${summary.rounds.length} rounds`
      : ""),
    `run folder       ${summary.run}`,
  ].join("\n");
}

/** Lays out what a partition would do, and at what price. */
export function planText(plan: PartitionPlan): string {
  const rows = plan.stages.map(({ stage, action, seconds, diskBytes, memoryBytes }) =>
    action === "up to date"
      ? [stage, "", "", "", action]
      : [stage, duration(seconds), bytes(diskBytes), bytes(memoryBytes), action]
  );
  return [
    table([["stage", "time", "disk", "memory", "what"], ...rows]),
    "",
    `in all ${duration(plan.seconds)}, ${bytes(plan.diskBytes)} of disk, at most ${
      bytes(plan.memoryBytes)
    } of memory`,
    ...plan.assumptions.map((line) => `assumed: ${line}`),
  ].join("\n");
}

/** Lays out what a verification found. */
export function verifyText(
  run: string,
  { files, trainSequences, testSequences, loads, parts, problems }: VerifyReport,
): string {
  if (problems.length > 0) {
    return problems.map(({ file, what, remedy }) => `${file}: ${what}; ${remedy}`).join("\n");
  }
  const sequences = `${count(trainSequences)} training and ${count(testSequences)} held-out sequences`;
  if (parts) {
    return `${run}: ${count(files)} files as their manifests say, ${sequences}; the part${
      parts.length > 1 ? "s of experts" : " of expert"
    } ${parts.join(", ")} alone, so that nothing tells what the others hold`;
  }
  return `${run}: ${
    count(files)
  } files as their manifests say, ${sequences} in exactly one expert's shards each; loads ${
    loads.map(count).join(", ")
  }`;
}

/** Lays out one row of a shard: what is known of it, then its text. */
export function rowText({ sequence, document, source, length, nll, expert, text }: ShownRow): string {
  const facts = [
    `sequence ${sequence}`,
    document === undefined ? "" : `document ${document}`,
    source ? `source ${source}` : "",
    `${length} tokens`,
    expert === undefined ? "" : `expert ${expert}`,
    nll ? `NLL ${nll.map((value) => value.toFixed(1)).join(" ")}` : "",
  ];
  return facts.filter((fact) => fact !== "").join(", ") +
    (text === undefined ? "" : `\n  ${text.replaceAll("\n", "\n  ")}`);
}

function duration(seconds: number): string {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${(seconds / 3600).toFixed(1)} h` : `${(seconds / 86_400).toFixed(1)} days`;
}

export function bytes(size: number): string {
  const mebibytes = size / 2 ** 20;
  return mebibytes < 1024 ? `${Math.ceil(mebibytes)} MiB` : `${(mebibytes / 1024).toFixed(1)} GiB`;
}

/** Writes a table of trained models. */
export function trainedText(run: string, models: TrainResult[]): string {
  const rows = models.map(({ folder, steps, batch, tokens, rate, loss, validationLoss }) => [
    folder,
    `${steps} x ${batch}`,
    tokens.toLocaleString("en"),
    rate.toExponential(1),
    loss?.toFixed(3) ?? "none",
    validationLoss?.toFixed(3) ?? "none",
  ]);
  return table([["model", "steps x batch", "tokens", "peak rate", "loss", "held-out loss"], ...rows]) +
    `\nrun folder  ${run}`;
}
