/**
 * Lays out what stages and trainings made for a person to read.
 *
 * @module
 */

import type { CostDevice } from "../pipeline/cost/mod.ts";
import type { Drift } from "../pipeline/partition/mod.ts";
import { withPath } from "../pipeline/partition/tree/branches.ts";
import { CALLED_WORDS } from "../pipeline/partition/names.ts";
import type {
  Estimate,
  Exported,
  PartitionPlan,
  PartitionSummary,
  ProofSummary,
  TrainResult,
  VerifyReport,
} from "../pipeline/stages/mod.ts";
import { duration } from "../pipeline/run/mod.ts";
import {
  bytes,
  count,
  counted,
  lines,
  percent,
  roughBytes,
  scientific,
  sourceName,
  table,
} from "./layout.ts";

const MOST_SOURCES = 6; // of an expert that are printed
const MOST_HELD_OUT = 12; // sources of which held-out text is printed
const NO_SOURCES = "none, as the text has no two sources; --source-field names the field that holds them";

/** Lays out the summary of a partition: a row per expert, then what holds for all. */
export function summaryText(summary: PartitionSummary): string {
  const { nmi, costs, rounds, proof, levels = [], heldOut = {}, dropped } = summary;
  const rows = summary.experts.map(({ expert, path, sequences, tokens, nllPerToken, words, sources }) => {
    const mix = Object.entries(sources)
      .map(([source, part]) => [source, Math.round(100 * part / Math.max(1, sequences))] as const)
      .filter(([, share]) => share > 0)
      .sort(([, a], [, b]) => b - a)
      .map(([source, share]) => `${sourceName(source)} ${share}%`);
    const reported = [words.slice(0, CALLED_WORDS), mix.slice(0, MOST_SOURCES)].map((list) =>
      list.join(", ")
    );
    return [
      withPath(expert, path),
      sequences,
      tokens,
      nllPerToken?.toFixed(3) ?? "",
      ...reported,
    ];
  });
  const held = Object.entries(heldOut).map(([source, { documents, tokens }]) =>
    `${sourceName(source)} ${counted(documents, "documents")}, ${counted(tokens, "tokens")}`
  );
  const leftOut = Object.entries(dropped ?? {}).map(([reason, documents]) => `${count(documents)} ${reason}`)
    .join(", ");
  const last = rounds.at(-1)?.nmi;
  const inLast = typeof last === "number" &&
    `; ${last.toFixed(3)} in the last of ${counted(rounds.length, "rounds")}`;
  const shared = nmi === null
    ? `${NO_SOURCES}${inLast || ""}`
    : `${nmi.toFixed(3)} (0: experts tell nothing of the source, 1: all)${inLast || ""}`;
  return "\n" + lines(
    table(`expert | sequences | tokens | ${costs ? "mean cost" : "NLL/token"} | words | sources`, rows, [
      "words",
    ]) + "\n",
    proof && `assignment       ${proofText(proof, costs)}`,
    levels.map(({ loads, proof }, i) => {
      const [least, most] = [Math.min(...loads), Math.max(...loads)].map(count);
      const proved = proof ? `; ${proofText(proof, costs)}` : "";
      return `level ${i + 1}          ${loads.length} loads of ${least} to ${most} sequences${proved}`;
    }),
    `token imbalance  ${percent(summary.tokenImbalance)} (largest expert over the mean)`,
    `NMI with source  ${shared}`,
    held.length > 0 && `held out         ${held.slice(0, MOST_HELD_OUT).join("; ")}`,
    dropped !== undefined && `left out         ${leftOut || "nothing"}; text/dropped.arrow lists what`,
    `root hash        ${summary.sha256}`,
    `run folder       ${summary.run}`,
  );
}

/** Words the cost of an optimal assignment, and what proves how good it is; `costs` says what a cost is, where it is no NLL. */
export function proofText(proof: ProofSummary, costs?: string): string {
  const { cost, bound, gapPerSequence, gapShare, greedyGapShare } = proof;
  const [total, least] = [cost, bound].map((sum) => sum.toLocaleString("en", { maximumFractionDigits: 3 }));
  const share = (share: number) => `${Number((100 * share).toPrecision(2))}% of what balancing costs`;
  const gap = `${gapPerSequence.toPrecision(2)} ${costs === undefined ? "nats " : ""}per sequence`;
  const greedy = greedyGapShare === undefined ? "" : `; that of greedy ${share(greedyGapShare)}`;
  return `cost ${total}, bound ${least}; gap ${gap}, ${share(gapShare)}${greedy}`;
}

/** Reports how far the shares of an assignment by prices are from equal ones, and warns if the text is of another kind. */
export function driftText({ deviation, limit }: Drift): string {
  const largest = `the largest deviation of a share from an equal one is ${percent(deviation)}`;
  const chance = `the ${percent(limit)} that chance allows`;
  if (deviation <= limit) return `${largest}, within ${chance}`;
  return `warning: ${largest}, beyond ${chance}: the text is of another kind than that of the prices`;
}

/** Gives the device that options name. */
export function speedText(
  { flops, utilisation }: { flops?: number; utilisation?: number },
): Partial<CostDevice> {
  return { ...flops !== undefined && { flops }, ...utilisation !== undefined && { utilisation } };
}

/** Lays out what a partition would do, with estimates of time, disk and memory. */
export function planText(plan: PartitionPlan): string {
  const estimateCells = ({ seconds, diskBytes, memoryBytes }: Estimate) => [
    ...[duration(Math.ceil(seconds)), roughBytes(diskBytes), roughBytes(memoryBytes)],
  ];
  const rows = plan.stages.map(({ stage, action, nodes, toMake, because, ...price }) => {
    if (action === "up to date") return [stage, "", "", "", action];
    const share = nodes > 1 ? `, ${toMake} of ${nodes}` : "";
    return [stage, ...estimateCells(price), `${action}${share}${because ? `: ${because}` : ""}`];
  });
  const [time, disk, memory] = estimateCells(plan);
  return lines(
    table("stage | time | disk | memory | what", rows) + "\n",
    `in all ${time}, ${disk} of disk, at most ${memory} of memory`,
    plan.assumptions.map((line) => `assumed: ${line}`),
    plan.warnings.map((line) => `warning: ${line}`),
  );
}

/** Writes a table of trained models; `runs` are those of the models, one for each. */
export function trainedText(run: string, models: TrainResult[], runs: readonly string[] = []): string {
  const isOne = runs.every((other) => other === run);
  const rows = models.map(({ folder, path, steps, batch, tokens, rate, loss, validationLoss }, i) => [
    ...[
      withPath(isOne ? folder : `${runs[i]}/${folder}`, path),
      `${steps} x ${batch}`,
      tokens,
      rate.toExponential(1),
    ],
    ...[loss, validationLoss].map((loss) => loss?.toFixed(3) ?? "none"),
  ]);
  return lines(
    table("model | steps x batch | tokens | peak rate | loss | held-out loss", rows),
    models.flatMap(notes),
    [...new Set([run, ...runs])].map((run) => `run folder  ${run}`),
  );
}

/**
 * Compares the cost of training a model, and of a sequence through it, with those of the mixture and of an expert; words the
 * balance and the dropped tokens of routing among the experts of its layers.
 */
function notes({ folder, cost, routing }: TrainResult): string[] {
  const reported: string[] = [];
  if (cost) {
    const { parameters, training, mixture, inference, expertInference, memory } = cost;
    const share = training / mixture - 1;
    const difference = `${percent(Math.abs(share))} ${share < 0 ? "less" : "more"} than the mixture's`;
    const times = `${(inference / expertInference).toFixed(2)} times an expert's`;
    const routers = memory.routing ?? 0; // counted where a prefix routes
    const expert = `one expert ${bytes(memory.expertInference)}`;
    const answering = routers === 0
      ? expert
      : `the mixture ${bytes(memory.expertInference + routers)}: ${expert}, all routers ${bytes(routers)}`;
    reported.push(
      `${folder} has ${count(parameters)} weights; its training takes ${scientific(training)} FLOPs, ` +
        `${difference} ${scientific(mixture)} with routers and scoring, as counted when it was trained`,
      `a sequence takes ${scientific(inference)} FLOPs, ${times} ${scientific(expertInference)}`,
      `memory of training ${roughBytes(memory.training)}, of one expert's ${
        roughBytes(memory.expertTraining)
      }, ` +
        `with all activations kept; of generating ${bytes(memory.inference)}, with ${answering}`,
    );
  }
  if (routing) {
    const balance = `balance ${routing.balance.toFixed(3)} (1 where every expert gets as many tokens)`;
    reported.push(
      `${folder} at its end: ${balance}, no expert took ${percent(routing.dropped)} of the tokens`,
    );
  }
  return reported;
}

/** Reports what an export wrote, or that it is there. */
export function exportedText({ output, state, of, files, result }: Exported): string {
  const sizes = Object.values(files).map(({ bytes }) => bytes);
  const kinds = Object.entries(result as Record<string, { texts: number; tokens: number }>).map(
    ([kind, { texts, tokens }]) => `${kind} ${counted(texts, "texts")} of ${counted(tokens, "tokens")}`,
  );
  const size = `${sizes.length} files, ${bytes(sizes.reduce((a, b) => a + b, 0))}`;
  return [`${output}: ${of.of} ${state === "done" ? "is written" : "is there"}`, ...kinds, size].join(", ");
}

const MOST_LOADS = 16; // up to so many experts, the load of each is shown

/** Lays out what a verification found. */
export function verifyText(run: string, found: VerifyReport): string {
  const { files, trainSequences, testSequences, loads, parts, problems } = found;
  if (problems.length > 0) {
    return problems.map(({ file, what, remedy }) => `${file}: ${what}; ${remedy}`).join("\n");
  }
  const sequences = `${count(trainSequences)} training and ${count(testSequences)} held-out sequences`;
  const all = `${run}: ${count(files)} files as their manifests say, ${sequences}`;
  if (parts) {
    const alone = `${parts.length > 1 ? "parts of experts" : "part of expert"} ${parts.join(", ")}`;
    return `${all}; the ${alone} alone, so that nothing tells what the others hold`;
  }
  const range = `of ${loads.length} experts ${count(Math.min(...loads))} to ${count(Math.max(...loads))}`;
  const shown = loads.length > MOST_LOADS ? range : loads.map(count).join(", ");
  return `${all} in exactly one expert's shards each; loads ${shown}`;
}
