/**
 * Lays out costs for a person to read.
 *
 * @module
 */

import {
  adapterKindOf,
  type Cost,
  type InferenceMemory,
  narrowNotes,
  type PaperCommunication,
  type PaperPair,
  secondsOn,
  type TableRow,
  type TrainingMemory,
} from "../pipeline/cost/mod.ts";
import { duration } from "../pipeline/run/mod.ts";
import { bytes, count, decimalBytes, percent, scientific, table } from "./layout.ts";

/** Lays out the paper's Table 3: the paper's figure, then the counted one. */
export function tableText(rows: TableRow[]): string {
  const size = (steps: number, batch: number) => `${steps / 1000}k x ${batch}`;
  const cells = rows.map(({ printed, counted, perplexity, ...row }) => {
    const pair = (name: keyof typeof printed) => `${printed[name].toFixed(2)} / ${counted[name].toFixed(2)}`;
    return [
      `${row.model}, E=${row.experts}`,
      size(row.steps, row.batch),
      size(row.denseSteps, row.denseBatch),
      pair("training"),
      counted.denseTraining.toFixed(2),
      ...(["trainingOverhead", "inference", "inferenceOverhead"] as const).map(pair),
      `${perplexity.dense.toFixed(2)} -> ${perplexity.mixture.toFixed(2)}`,
    ];
  });
  const head =
    "model | steps x batch | dense | training | dense | overhead | inference | overhead | perplexity printed";
  return `The paper's Table 3: printed / counted; FLOPs of training in 1e19, of inference in 1e12

${table(head, cells)}`;
}

/** Lays out the paper's pair of about equal training compute. */
export function pairText({ dense, mixture, apart }: PaperPair): string {
  const row = ({ model, training, inference, perplexity }: typeof dense) => [
    model,
    training.toFixed(2),
    inference.toFixed(2),
    perplexity.toFixed(2),
  ];
  return `The paper's larger dense model at about equal training compute: ${percent(apart)} apart

${table("model | training, 1e19 | inference, 1e12 | perplexity printed", [row(dense), row(mixture)])}`;
}

/** Lays out the paper's figures of communication. */
export function communicationText(
  { printed, counted }: { printed: PaperCommunication; counted: PaperCommunication },
): string {
  const row = (
    name: string,
    figure: keyof PaperCommunication,
    write: (value: number) => string,
  ) => [name, write(printed[figure]), write(counted[figure]), ""];
  const rows = [
    row("exchanges of scores", "exchanges", count),
    row("per router and exchange", "bytesPerExchange", decimalBytes),
    row("data-parallel dense, per node and step", "denseBytesPerStep", decimalBytes),
  ];
  return `Communication, 1.3B, E=32\n\n${table("| printed | counted |", rows)}`;
}

/** Lays out what a configuration costs. */
export function costText(cost: Cost): string {
  const { mixture, memory } = cost;
  return [
    `This configuration: E=${mixture.experts}, S=${mixture.length}, M=${mixture.prefix}, V=${mixture.expert.vocabulary}`,
    "",
    weightsTable(cost),
    "",
    flopsTable(cost),
    ...flopsNotes(cost),
    "",
    table("device memory | weights | transposed | gradients | moments | batch | in all | largest tensor", [
      memoryRow("training one expert", memory.expert),
      ...mixture.routers === 0 ? [] : [memoryRow("training all routers", memory.routers)],
      memoryRow("training dense, batch x E", memory.dense),
      memoryRow("training Switch, batch x E", memory.switch),
      memoryRow("generating, one expert", memory.inference),
      memoryRow("generating, Switch", memory.switchInference),
      ...mixture.routers === 0 ? [] : [
        memoryRow("routing, all routers", memory.routing),
        memoryRow("answering, routers and one expert", together(memory.routing, memory.inference)),
      ],
    ]),
    ...(cost.dtype === "f32" ? [] : [
      `stored in ${cost.dtype} while experts and the dense model train: transposed matrices and the activations that are ` +
      "kept; logits, queries, keys and values before they are split, and gradients are f32",
    ]),
    `generating: ${
      bytes(memory.inference.cache)
    } of the batch are keys and values of ${mixture.length} positions`,
    "",
    exchangeTable(cost),
  ].join("\n");
}

function weightsTable(
  { mixture, parameters, equalCompute: larger, switch: tokenwise, adopted = [] }: Cost,
): string {
  const shape = ({ hidden, layers, heads }: Pick<typeof mixture.expert, "hidden" | "layers" | "heads">) =>
    `H=${hidden} L=${layers} heads=${heads}`;
  return table("| weights | steps x batch | shape", [
    ...mixture.routers === 0 ? [] : [[
      "router",
      parameters.router,
      `${count(mixture.routerSteps)} x ${mixture.routerBatch}`,
      shape(mixture.router),
    ]],
    ["expert", parameters.expert, `${count(mixture.steps)} x ${mixture.batch}`, shape(mixture.expert)],
    ...adopted.map(({ expert, parameters, shape: own, from }) => [
      `expert ${expert}, adopted`,
      parameters,
      "",
      `${shape(own)}, from ${from}`,
    ]),
    [mixture.routers === 0 ? "all experts" : "all routers and experts", parameters.total, "", ""],
    [
      "larger dense",
      larger.parameters,
      `${count(larger.steps)} x ${larger.batch}`,
      `${shape(larger.model)}: ${(larger.parameters / parameters.expert).toFixed(2)} times an expert, ${
        count(larger.tokens)
      } tokens`,
    ],
    [
      "Switch",
      tokenwise.parameters,
      `${count(tokenwise.steps)} x ${tokenwise.batch}`,
      `${shape(tokenwise.model)}, ${tokenwise.model.switch!.experts} experts in every layer`,
    ],
  ]);
}

function flopsTable(cost: Cost): string {
  const { mixture, flops, equalCompute: larger, switch: tokenwise, seconds, device } = cost;
  const apart = Math.abs(larger.training / larger.mixture - 1);
  const side = larger.training < larger.mixture ? "less" : "more";
  const row = (
    name: string,
    flops: number,
    time: number,
    note = "",
  ) => [name, scientific(flops), duration(time), note];
  const part = (name: string, part: number) => {
    return row(
      name,
      part,
      secondsOn(device, part, mixture.router),
      `${percent(part / flops.experts)} of the experts`,
    );
  };
  const alone = "no exchange: as many devices as experts take this long";
  const onPrompt = mixture.routers === 0
    ? "one expert; what chooses it is not counted"
    : `routers on ${mixture.prefix} tokens, then one expert`;
  const { allExperts, oneExpert, routers, sharding } = seconds;
  return table("| FLOPs | time |", [
    row("training of the experts", flops.experts, allExperts, "all, one after another"),
    row("  of one expert", flops.experts / mixture.experts, oneExpert, alone),
    ...mixture.routers === 0 ? [] : [
      part("training of the routers", flops.trainRouters),
      part("sharding for the routers", flops.shardForRouters),
      part("sharding for the experts", flops.shardForExperts),
    ],
    row("mixture in all", flops.total, allExperts + routers + sharding),
    row("dense model, as many tokens", flops.dense, seconds.dense),
    row(
      "larger dense model",
      larger.training,
      seconds.equalCompute,
      `${percent(apart)} ${side} than the mixture`,
    ),
    row("Switch, as many tokens", tokenwise.training, seconds.switch),
    row("a prompt, dense", flops.inference, seconds.densePrompt, `${mixture.length} tokens`),
    row("a prompt, larger dense", larger.inference, seconds.equalComputePrompt, `${mixture.length} tokens`),
    row(
      "a prompt, Switch",
      tokenwise.inference,
      secondsOn(device, tokenwise.inference, tokenwise.model),
      `${mixture.length} tokens`,
    ),
    row("a prompt, mixture", flops.inference + flops.inferenceOverhead, seconds.prompt, onPrompt),
  ]);
}

/** FLOP/s that no device reaches in f32 arithmetic, without units for products of matrices. */
const MOST_F32 = 120e12;
const MATRIX_UNITS =
  "so many FLOP/s take units for products of matrices of bf16 or f16: the arithmetic here is f32, which has a tenth or less";

function flopsNotes(
  { mixture, flops: { recomputed }, equalCompute: larger, device, corpus, adopted, otherRouters: others }:
    Cost,
): string[] {
  const extra = `${scientific(recomputed)} FLOPs more in the experts, and as many in the dense model`;
  const share = +(100 * device.utilisation).toFixed(2);
  const unknown = "new ones in every step of an expert (a --run that is tokenized says how many there are)";
  return [
    ...(others
      ? [
        `routers of "${others.folder}": their training is not counted` +
        (others.known ? "" : "; they are not there, so they count as models of the settings' shape"),
      ]
      : []),
    ...(adopted ? ["training and prompts are counted as if every expert were of the run's own shape"] : []),
    ...(recomputed > 0
      ? [
        `recomputed activations take ${extra}; the times of all trainings but the routers' count theirs, the FLOPs above do not`,
      ]
      : []),
    `time: on a device of ${scientific(device.flops)} FLOP/s at ${share}% of it` +
    (device.name === undefined ? "" : `, as doctor measured "${device.name}"`),
    ...narrowNotes(
      [...mixture.routers === 0 ? [] : [mixture.router], mixture.expert, larger.model],
      adapterKindOf(device),
    ),
    ...(device.flops > MOST_F32 ? [MATRIX_UNITS] : []),
    corpus
      ? `sequences: ${count(corpus.train)} for training, ${count(corpus.test)} held out${
        mixture.routers === 0 ? "" : ", all scored once"
      }`
      : `sequences: ${count(mixture.corpusScored)}, ${unknown}`,
  ];
}

/** Sums up what two models take that are held at the same time. */
function together(one: InferenceMemory, other: InferenceMemory): InferenceMemory {
  return {
    weights: one.weights + other.weights,
    transposed: one.transposed + other.transposed,
    activations: one.activations + other.activations,
    cache: one.cache + other.cache,
    total: one.total + other.total,
  };
}

/** A row of device memory; what is no weight, gradient or moment is of the batch. */
function memoryRow(name: string, memory: Partial<TrainingMemory> & Omit<InferenceMemory, "cache">): string[] {
  const { weights, transposed, gradients = 0, moments = 0, total, largest = 0 } = memory;
  const batch = total - weights - transposed - gradients - moments;
  const sizes = [weights, transposed, gradients, moments, batch, total, largest];
  return [name, ...sizes.map((size) => size > 0 ? bytes(size) : "")];
}

/** Says in which size scores are counted, beside the figures that are counted as it runs here. */
const SCORES = "2 bytes a score, as the paper counts; files here have 4";

function exchangeTable({ mixture, communication: c }: Cost): string {
  const row = (
    name: string,
    size: number,
    exchanges: number,
    note = "",
  ) => [name, decimalBytes(size), exchanges, decimalBytes(exchanges * size), note];
  const ratio = c.denseBytesPerNode / c.bytesPerNode; // below 1 where experts are many
  const times = c.bytesPerNode === 0
    ? ""
    : `${ratio < 10 ? ratio.toPrecision(2) : count(ratio)} times the mixture's`;
  return table("bytes exchanged | per exchange | exchanges | per node in all |", [
    ...mixture.routers === 0 ? [] : [
      row("mixture, scores of the rounds", c.bytesPerExchange, c.exchanges, SCORES),
      row("mixture, scores of the corpus", c.corpusBytes, 1),
    ],
    row("data-parallel dense", c.denseBytesPerStep, mixture.steps, times),
  ]);
}
