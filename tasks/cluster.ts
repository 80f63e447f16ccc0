/**
 * Counts what a run on many machines takes, on paper, and lays it out.
 *
 * @module
 */

import { ensure, say, setting } from "../kernels/errors.ts";
import {
  adapterKind,
  CLUSTER_FORMULAS,
  type ClusterPlan,
  type CostDevice,
  planCluster,
} from "../pipeline/cost/mod.ts";
import { field, resolveConfiguration, type Sources, type Values } from "../pipeline/settings/mod.ts";
import { duration } from "../pipeline/run/mod.ts";
import { blocks, count, decimalBytes, lines, scientific, table } from "./layout.ts";

/** The cluster that is counted, and its corpus. */
export const CLUSTER = field.section("Command", {
  cluster: field.flag(
    "count instead what a run on many machines takes, at E = 32 and 256 and the paper's sizes unless said otherwise",
  ),
  machines: field.integer({ default: 1000, min: 1 }, "machines of the cluster, with a device each"),
  corpusTokens: field.number({ default: 1e12, min: 1, max: 1e15 }, "tokens of its training text"),
  diskRate: field.number(
    { default: 1e10, min: 1, max: 1e15 },
    "bytes that its shared disk reads and writes a second, for all machines together",
  ),
});

/** Throws an `InputError` where options are given that say nothing of a cluster and one is counted, or the other way round. */
export function checkClusterOptions(given: ReadonlySet<string>): void {
  const isCluster = given.has("cluster");
  const names = isCluster ? ["run", "recompute"] : Object.keys(CLUSTER);
  const [must, fact] = isCluster ? ["without", "both are given"] : ["with", "it is not"];
  const name = names.find((name) => given.has(name)) ?? "";
  ensure(!name, say`Cannot count a cluster as --cluster must be given ${must} ${setting(name)}: ${fact}`);
}

const NUMBERS = [32, 256]; // of experts

/** Counts what the configuration of `sources` takes, at the paper's sizes and with 32 and 256 experts unless they say otherwise. */
export function clusterPlans(
  { flags, preset = "paper-335m", ...sources }: Sources,
  { machines, corpusTokens: tokens, diskRate: diskBytesPerSecond }: Values<typeof CLUSTER>,
  { flops, utilisation }: CostDevice,
): ClusterPlan[] {
  const numbers = flags?.experts === undefined ? NUMBERS : [flags.experts];
  return numbers.map((experts) => {
    const c = resolveConfiguration({ ...sources, preset, flags: { ...flags, experts } });
    const device = { flops: flops * utilisation, kind: adapterKind({ flops }) };
    return planCluster(c, { machines, tokens, diskBytesPerSecond, ...device });
  });
}

/** Files in a folder beyond which listing it takes long on most disks. */
const MANY_FILES = 100_000;

/** Lays out plans of the same cluster by numbers of experts, and how they are counted. */
export function clusterText(plans: readonly ClusterPlan[]): string {
  const [{ tokens, machines, flops, diskBytesPerSecond }] = plans;
  const device = `${scientific(flops)} FLOP/s, a shared disk of ${decimalBytes(diskBytesPerSecond)}/s`;
  return blocks(
    `On paper: ${scientific(tokens)} tokens, ${count(machines)} machines of ${device}`,
    plans.map(planText),
    lines("Counted so:", CLUSTER_FORMULAS.map((line) => `  ${line}`)),
  );
}

function planText(plan: ClusterPlan): string {
  const rows = plan.stages.map(({ name, processes, computeSeconds, diskSeconds, files, ...stage }) => [
    ...[name, processes, duration(Math.max(computeSeconds, diskSeconds))],
    computeSeconds >= diskSeconds ? "arithmetic" : "disk",
    ...[stage.readBytes, stage.writtenBytes, stage.keptBytes].map(decimalBytes),
    ...[files, ""],
  ]);
  const many = plan.stages.find(({ files }) => files > MANY_FILES);
  const [disk, traffic, exchange, round, step, expert] = [
    ...[plan.diskBytes, plan.trafficBytes, plan.exchangeBytes, plan.roundBytes],
    ...[plan.denseStepBytes, plan.expertBytes],
  ].map(decimalBytes);
  return lines(
    `E=${plan.experts}: ${count(plan.sequences)} sequences`,
    table("stage | at once | time | bound by | read | written | kept | files in a folder |", rows, [
      "bound by",
    ]),
    `in all ${duration(plan.seconds)}, ${disk} on the disk with the text, ${traffic} through it`,
    `a round of the routers exchanges ${exchange} of scores and takes ${round} of a host's memory; a node of a ` +
      `data-parallel dense model moves ${step} in every step`,
    `an expert's training reads ${expert}, and nothing from another`,
    many && `${many.name} has ${count(many.files)} entries in a folder: larger blocks make fewer`,
  );
}
