/**
 * Counts what the method costs: a configuration of your own, or the paper's figures next to those
 * of the formulas.
 *
 *   deno task cost --preset small --experts 8 --flops 1e12 --utilisation 0.4
 *   deno task cost --cluster --machines 1000 --corpus-tokens 1e12 --flops 60e12 --utilisation 0.3
 */
import { ensure, say, setting } from "../kernels/errors.ts";
import {
  adapterKind,
  CLUSTER_FORMULAS,
  type ClusterPlan,
  type Cost,
  type CostDevice,
  type ModelMemory,
  namedDevice,
  narrowNotes,
  type PaperCommunication,
  paperCommunication,
  paperPair,
  paperTable,
  planCluster,
  PRINTED_COMMUNICATION,
  readCost,
  secondsOn,
  together,
  type TrainingMemory,
  usualDevice,
} from "../pipeline/cost/mod.ts";
import type { ModelConfig } from "../pipeline/model/mod.ts";
import { duration } from "../pipeline/graph/mod.ts";
import {
  binaryBytes,
  countText,
  decimalBytes,
  engineering,
  percent,
} from "../pipeline/graph/numbers.ts";
import {
  field,
  resolveConfiguration,
  type Sources,
  type Values,
} from "../pipeline/settings/mod.ts";
import { defineTask } from "./cli/command.ts";
import { blocks, lines, table } from "./cli/layout.ts";
import { take } from "./cli/options.ts";

/** The cluster that is counted, and its corpus. */
const CLUSTER = {
  cluster: field.flag(
    "count instead what a run on many machines takes, at E = 32 and 256 and the " +
      "paper's sizes unless said otherwise",
  ),
  machines: field.integer({ default: 1000, min: 1 }, "machines of the cluster, with a device each"),
  corpusTokens: field.number({ default: 1e12, min: 1, max: 1e15 }, "tokens of its training text"),
  diskRate: field.number(
    { default: 1e10, min: 1, max: 1e15 },
    "bytes that its shared disk reads and writes a second, for all machines together",
  ),
};

/**
 * Throws an `InputError` where options are given that say nothing of a cluster and one is counted,
 * or the other way round.
 */
function checkClusterOptions(givenNames: ReadonlySet<string>): void {
  const isCluster = givenNames.has("cluster");
  const names = isCluster ? ["run", "recompute"] : Object.keys(CLUSTER);
  const [must, fact] = isCluster ? ["without", "both are given"] : ["with", "it is not"];
  const name = names.find((name) => givenNames.has(name)) ?? "";
  ensure(
    !name,
    say`Cannot count a cluster as --cluster must be given ${must} ${setting(name)}: ${fact}`,
  );
}

const NUMBERS = [32, 256]; // of experts

/**
 * Counts what the configuration of `sources` takes, at the paper's sizes and with 32 and 256
 * experts unless they say otherwise.
 */
function clusterPlans(
  { flags, preset = "paper-335m", ...sources }: Sources,
  { machines, corpusTokens: tokens, diskRate: diskBytesPerSecond }: Values<typeof CLUSTER>,
  named: CostDevice,
): ClusterPlan[] {
  const numbers = flags?.experts === undefined ? NUMBERS : [flags.experts];
  return numbers.map((experts) => {
    const c = resolveConfiguration({ ...sources, preset, flags: { ...flags, experts } });
    const device = { flops: named.flops * named.utilisation, kind: adapterKind(named) };
    return planCluster(c, { machines, tokens, diskBytesPerSecond, ...device });
  });
}

/** Files in a folder beyond which listing it takes long on most disks. */
const MANY_FILES = 100_000;

/** Lays out plans of the same cluster by numbers of experts, and how they are counted. */
function clusterText(plans: readonly ClusterPlan[]): string {
  const [{ tokens, machines, flops, diskBytesPerSecond }] = plans;
  const device = `${engineering(flops)} FLOP/s, a shared disk of ${
    decimalBytes(diskBytesPerSecond)
  }/s`;
  return blocks(
    `On paper: ${engineering(tokens)} tokens, ${countText(machines)} machines of ${device}`,
    plans.map(planText),
    lines("Counted so:", CLUSTER_FORMULAS.map((line) => `  ${line}`)),
  );
}

function planText(plan: ClusterPlan): string {
  const rows = plan.stages.map((
    { name, processes, computeSeconds, diskSeconds, files, ...stage },
  ) => [
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
    `E=${plan.experts}: ${countText(plan.sequences)} sequences`,
    table("stage | at once | time | bound by | read | written | kept | files in a folder |", rows, [
      "bound by",
    ]),
    `in all ${duration(plan.seconds)}, ${disk} on the disk with the text, ${traffic} through it`,
    `a round of the routers exchanges ${exchange} of scores and takes ${round} of a ` +
      "host's memory; a node of a " +
      `data-parallel dense model moves ${step} in every step`,
    `an expert's training reads ${expert}, and nothing from another`,
    many &&
      `${many.name} has ${countText(many.files)} entries in a folder: larger blocks make fewer`,
  );
}

/**
 * Lays out the paper's Table 3, its pair of about equal training compute, and its communication:
 * printed figures, then counted ones.
 */
function paperText(): string {
  const size = (steps: number, batch: number) => `${steps / 1000}k x ${batch}`;
  const rows = paperTable().map(({ printed, counted, perplexity, ...row }) => {
    const pair = (name: keyof typeof printed) =>
      `${printed[name].toFixed(2)} / ${counted[name].toFixed(2)}`;
    return [
      ...[
        `${row.model}, E=${row.experts}`,
        size(row.steps, row.batch),
        size(row.denseSteps, row.denseBatch),
      ],
      ...[pair("training"), counted.denseTraining.toFixed(2)],
      ...(["trainingOverhead", "inference", "inferenceOverhead"] as const).map(pair),
      `${perplexity.dense.toFixed(2)} -> ${perplexity.mixture.toFixed(2)}`,
    ];
  });
  const head = "model | steps x batch | dense | training | dense | overhead | inference | " +
    "overhead | perplexity printed";
  const { dense, mixture, apart } = paperPair();
  const pair = [dense, mixture].map(({ model, training, inference, perplexity }) => [
    ...[model, training.toFixed(2), inference.toFixed(2), perplexity.toFixed(2)],
  ]);
  const [printed, counted] = [PRINTED_COMMUNICATION, paperCommunication()];
  const row = (name: string, figure: keyof PaperCommunication, write = decimalBytes) => [
    ...[name, write(printed[figure]), write(counted[figure]), ""],
  ];
  const exchanged = [
    row("exchanges of scores", "exchanges", countText),
    row("per router and exchange", "bytesPerExchange"),
    row("data-parallel dense, per node and step", "denseBytesPerStep"),
  ];
  return blocks(
    "The paper's Table 3: printed / counted; FLOPs of training in 1e19, of inference in 1e12",
    table(head, rows),
    `The paper's larger dense model at about equal training compute: ${percent(apart)} apart`,
    table("model | training, 1e19 | inference, 1e12 | perplexity printed", pair),
    "Communication, 1.3B, E=32",
    table("| printed | counted |", exchanged),
  );
}

/** Lays out what a configuration costs, or that of a run. */
function costText(cost: Cost, run = "This configuration"): string {
  const { mixture, memory, dtype } = cost;
  const stored =
    `stored in ${dtype} while experts and the dense model train: transposed matrices ` +
    "and the activations that are " +
    "kept; logits, queries, keys and values before they are split, and gradients are f32";
  const cached = `${binaryBytes(memory.inference.cache)} of the batch are keys and values`;
  return blocks(
    `${run}: E=${mixture.experts}, S=${mixture.length}, M=${mixture.prefix}, ` +
      `V=${mixture.expert.vocabulary}`,
    weightsTable(cost),
    lines(flopsTable(cost), flopsNotes(cost)),
    lines(
      memoryTable(cost),
      dtype !== "f32" && stored,
      `generating: ${cached} of ${mixture.length} positions`,
    ),
    exchangeTable(cost),
  );
}

function weightsTable(cost: Cost): string {
  const { mixture, parameters, equalCompute: larger, switch: tokenwise, adopted = [] } = cost;
  const { routerSteps, routerBatch, steps, batch, router, expert } = mixture;
  const shape = ({ hidden, layers, heads }: Pick<ModelConfig, "hidden" | "layers" | "heads">) =>
    `H=${hidden} L=${layers} heads=${heads}`;
  const routes = mixture.routers > 0;
  const times = (larger.parameters / parameters.expert).toFixed(2);
  const largerNote = `: ${times} times an expert, ${countText(larger.tokens)} tokens`;
  const routersNote = `, ${countText(mixture.routers)} of them`;
  const switchNote = `, ${tokenwise.model.switch!.experts} experts in every layer`;
  const row = (
    name: string,
    weights: number,
    [steps, batch]: number[],
    model: ModelConfig,
    note = "",
  ) => [
    ...[name, weights, `${countText(steps)} x ${batch}`, shape(model) + note],
  ];
  const sizes = ({ steps, batch }: typeof larger | typeof tokenwise) => [steps, batch];
  return table(
    "| weights | steps x batch | shape",
    [
      routes && row("router", parameters.router, [routerSteps, routerBatch], router, routersNote),
      row("expert", parameters.expert, [steps, batch], expert),
      ...adopted.map(({ expert, parameters, shape: config, from }) => [
        ...[`expert ${expert}, adopted`, parameters, "", `${shape(config)}, from ${from}`],
      ]),
      [routes ? "all routers and experts" : "all experts", parameters.total, "", ""],
      row("larger dense", larger.parameters, sizes(larger), larger.model, largerNote),
      row("Switch", tokenwise.parameters, sizes(tokenwise), tokenwise.model, switchNote),
    ],
  );
}

function flopsTable(cost: Cost): string {
  const { mixture, flops, equalCompute: larger, switch: tokenwise, seconds, device } = cost;
  const { experts, trainRouters, shardForRouters, shardForExperts, total, dense, inference } =
    flops;
  const { length, prefix, routers: all, passes = all } = mixture;
  const routes = all > 0;
  const share = percent(Math.abs(larger.training / larger.mixture - 1));
  const apart = `${share} ${larger.training < larger.mixture ? "less" : "more"} than the mixture`;
  const onPrompt = routes
    ? `${countText(passes)} routers on ${prefix} tokens, then one expert`
    : "one expert; what chooses it is not counted";
  const { allExperts, oneExpert, routers, sharding } = seconds;
  const tokens = `${length} tokens`;
  const bySwitch = secondsOn(device, tokenwise.inference, tokenwise.model);
  const row = (name: string, flops: number, time: number, note = "") => [
    ...[name, engineering(flops), duration(time), note],
  ];
  const part = (name: string, part: number) =>
    routes &&
    row(
      name,
      part,
      secondsOn(device, part, mixture.router),
      `${percent(part / experts)} of the experts`,
    );
  return table(
    "| FLOPs | time |",
    [
      row("training of the experts", experts, allExperts, "all, one after another"),
      row("  of one expert", experts / mixture.experts, oneExpert, ALONE),
      part("training of the routers", trainRouters),
      part("sharding for the routers", shardForRouters),
      part("sharding for the experts", shardForExperts),
      row("mixture in all", total, allExperts + routers + sharding),
      row("dense model, as many tokens", dense, seconds.dense),
      row("larger dense model", larger.training, seconds.equalCompute, apart),
      row("Switch, as many tokens", tokenwise.training, seconds.switch),
      row("a prompt, dense", inference, seconds.densePrompt, tokens),
      row("a prompt, larger dense", larger.inference, seconds.equalComputePrompt, tokens),
      row("a prompt, Switch", tokenwise.inference, bySwitch, tokens),
      row("a prompt, mixture", inference + flops.inferenceOverhead, seconds.prompt, onPrompt),
    ],
  );
}

const ALONE = "no exchange: as many devices as experts take this long";

/** FLOP/s that no device reaches in f32 arithmetic, without units for products of matrices. */
const MOST_F32 = 120e12;
const MATRIX_UNITS =
  "so many FLOP/s take units for products of matrices of bf16 or f16: the arithmetic " +
  "here is f32, which has a tenth or less";
const UNKNOWN =
  "new ones in every step of an expert (a --run that is tokenized says how many there are)";

function flopsNotes(cost: Cost): string {
  const {
    mixture,
    flops: { recomputed },
    equalCompute: larger,
    device,
    corpus,
    otherRouters: countedRouters,
  } = cost;
  const extra = `${
    engineering(recomputed)
  } FLOPs more in the experts, and as many in the dense model`;
  const share = +(100 * device.utilisation).toFixed(2);
  const routes = mixture.routers > 0;
  const models = [...routes ? [mixture.router] : [], mixture.expert, larger.model];
  return lines(
    countedRouters && `routers of "${countedRouters.folder}": their training is not counted` +
        (countedRouters.known
          ? ""
          : "; they are not there, so they count as models of the settings' shape"),
    cost.adopted &&
      "training and prompts are counted as if every expert were of the run's own shape",
    recomputed > 0 &&
      (`recomputed activations take ${extra}; the times of all trainings but the ` +
        "routers' count theirs, the FLOPs above do not"),
    `time: on a device of ${engineering(device.flops)} FLOP/s at ${share}% of it` +
      (device.name === undefined ? "" : `, as doctor measured "${device.name}"`),
    ...narrowNotes(models, adapterKind(device)),
    device.flops > MOST_F32 && MATRIX_UNITS,
    corpus
      ? `sequences: ${countText(corpus.train)} for training, ${countText(corpus.test)} held out` +
        (routes ? ", all scored once" : "")
      : `sequences: ${countText(mixture.corpusScored)}, ${UNKNOWN}`,
  );
}

function memoryTable({ mixture, memory }: Cost): string {
  /** What is no weight, gradient or moment is of the batch. */
  const row = (name: string, memory: ModelMemory & Partial<TrainingMemory>) => {
    const { weights, transposed, gradients = 0, moments = 0, total, largest = 0 } = memory;
    const batch = total - weights - transposed - gradients - moments;
    const sizes = [weights, transposed, gradients, moments, batch, total, largest];
    return [name, ...sizes.map((size) => size > 0 ? binaryBytes(size) : "")];
  };
  const routes = mixture.routers > 0;
  return table(
    "device memory | weights | transposed | gradients | moments | batch | in all | largest tensor",
    [
      row("training one expert", memory.expert),
      routes && row("training all routers", memory.routers),
      row("training dense, batch x E", memory.dense),
      row("training Switch, batch x E", memory.switch),
      row("generating, one expert", memory.inference),
      row("generating, Switch", memory.switchInference),
      routes && row("routing, all routers", memory.routing),
      routes &&
      row("answering, routers and one expert", together(memory.routing, memory.inference)),
    ],
  );
}

/**
 * Reports in which size scores are counted, next to the figures that are counted as it runs here.
 */
const SCORES = "2 bytes a score, as the paper counts; files here have 4";

function exchangeTable({ mixture, communication: c }: Cost): string {
  const row = (name: string, size: number, exchanges: number, note = "") => [
    ...[name, decimalBytes(size), exchanges, decimalBytes(exchanges * size), note],
  ];
  const ratio = c.denseBytesPerNode / c.bytesPerNode; // below 1 where experts are many
  const times = `${ratio < 10 ? ratio.toPrecision(2) : countText(ratio)} times the mixture's`;
  const routes = mixture.routers > 0;
  return table(
    "bytes exchanged | per exchange | exchanges | per node in all |",
    [
      routes && row("mixture, scores of the rounds", c.bytesPerExchange, c.exchanges, SCORES),
      routes && row("mixture, scores of the corpus", c.corpusBytes, 1),
      row(
        "data-parallel dense",
        c.denseBytesPerStep,
        mixture.steps,
        c.bytesPerNode === 0 ? "" : times,
      ),
    ],
  );
}

export const TASK = await defineTask({
  name: "cost",
  startsAnew: true,
  options: {
    paper: field.flag(
      "print the paper's tables as well: its figures next to those of the formulas",
    ),
    run: field.path(
      { value: "FOLDER" },
      "run folder whose settings and number of sequences to take",
    ),
    ...take("preset", "config", "recompute", "flops", "utilisation"),
    ...CLUSTER,
  },
  run: async ({ sources, options, givenNames, print }) => {
    checkClusterOptions(givenNames);
    const device = namedDevice(options, await usualDevice());
    if (options.cluster) {
      const plans = clusterPlans(sources, options, device);
      return print(plans, clusterText(plans));
    }
    const cost = await readCost({ ...options, ...device, sources });
    const communication = { printed: PRINTED_COMMUNICATION, counted: paperCommunication() };
    const text = costText(cost, options.run || undefined);
    const all = { table: paperTable(), pair: paperPair(), communication, cost };
    print(all, blocks(text, options.paper && paperText()));
  },
}, import.meta);
