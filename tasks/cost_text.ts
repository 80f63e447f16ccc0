/**
 * Lays out costs for a person to read.
 *
 * @module
 */

import type { Cost, InferenceMemory, PaperCommunication, TableRow, TrainingMemory } from "../mod.ts";
import { table } from "./text.ts";

/** Lays out the paper's Table 3: the paper's figure, then the counted one. */
export function tableText(rows: TableRow[]): string {
  const pair = (printed: number, counted: number) => `${printed.toFixed(2)} / ${counted.toFixed(2)}`;
  const size = (steps: number, batch: number) => `${steps / 1000}k x ${batch}`;
  return [
    "The paper's Table 3: printed / counted; FLOPs of training in 1e19, of inference in 1e12",
    "",
    table([
      [
        "model",
        "steps x batch",
        "dense",
        "training",
        "dense",
        "overhead",
        "inference",
        "overhead",
        "perplexity printed",
      ],
      ...rows.map((
        { model, experts, steps, batch, denseSteps, denseBatch, printed, counted, perplexity },
      ) => [
        `${model}, E=${experts}`,
        size(steps, batch),
        size(denseSteps, denseBatch),
        pair(printed.training, counted.training),
        counted.denseTraining.toFixed(2),
        pair(printed.trainingOverhead, counted.trainingOverhead),
        pair(printed.inference, counted.inference),
        pair(printed.inferenceOverhead, counted.inferenceOverhead),
        `${perplexity.dense.toFixed(2)} -> ${perplexity.mixture.toFixed(2)}`,
      ]),
    ]),
  ].join("\n");
}

/** Lays out the paper's figures of communication. */
export function communicationText(
  { printed, counted }: { printed: PaperCommunication; counted: PaperCommunication },
): string {
  return [
    "Communication, 1.3B, E=32",
    "",
    table([
      ["", "printed", "counted", ""],
      ["exchanges of scores", String(printed.exchanges), String(counted.exchanges), ""],
      [
        "per router and exchange",
        decimalBytes(printed.bytesPerExchange),
        decimalBytes(counted.bytesPerExchange),
        "",
      ],
      [
        "data-parallel dense, per node and step",
        decimalBytes(printed.denseBytesPerStep),
        decimalBytes(counted.denseBytesPerStep),
        "",
      ],
    ]),
  ].join("\n");
}

/** Lays out what a configuration costs. */
export function costText(cost: Cost): string {
  const { mixture: m, parameters, flops, communication: c, memory, seconds, device, corpus } = cost;
  const shape = ({ hidden, layers, heads }: { hidden: number; layers: number; heads: number }) =>
    `H=${hidden} L=${layers} heads=${heads}`;
  const times = (part: number) => `${(100 * part / flops.experts).toFixed(1)}% of the experts`;
  const flopRows = [
    [
      "training of the experts",
      scientific(flops.experts),
      duration(seconds.allExperts),
      "all, one after another",
    ],
    [
      "  of one expert",
      scientific(flops.experts / m.experts),
      duration(seconds.oneExpert),
      "no exchange: as many devices as experts take this long",
    ],
    [
      "training of the routers",
      scientific(flops.trainRouters),
      duration(flops.trainRouters / rate(cost)),
      times(flops.trainRouters),
    ],
    [
      "sharding for the routers",
      scientific(flops.shardForRouters),
      duration(flops.shardForRouters / rate(cost)),
      times(flops.shardForRouters),
    ],
    [
      "sharding for the experts",
      scientific(flops.shardForExperts),
      duration(seconds.sharding),
      times(flops.shardForExperts),
    ],
    [
      "mixture in all",
      scientific(flops.total),
      duration(seconds.allExperts + seconds.routers + seconds.sharding),
      "",
    ],
    ["dense model, as many tokens", scientific(flops.dense), duration(seconds.dense), ""],
    ["a prompt, dense", scientific(flops.inference), duration(seconds.densePrompt), `${m.length} tokens`],
    [
      "a prompt, mixture",
      scientific(flops.inference + flops.inferenceOverhead),
      duration(seconds.prompt),
      `routers on ${m.prefix} tokens, then one expert`,
    ],
  ];
  return [
    `This configuration: E=${m.experts}, S=${m.length}, M=${m.prefix}, V=${m.expert.vocabulary}`,
    "",
    table([
      ["", "weights", "steps x batch", "shape"],
      ["router", count(parameters.router), `${count(m.routerSteps)} x ${m.routerBatch}`, shape(m.router)],
      ["expert", count(parameters.expert), `${count(m.steps)} x ${m.batch}`, shape(m.expert)],
      ["all routers and experts", count(parameters.total), "", ""],
    ]),
    "",
    table([["", "FLOPs", "time", ""], ...flopRows]),
    ...(flops.recomputed > 0
      ? [
        `recomputed activations take ${
          scientific(flops.recomputed)
        } FLOPs more in the experts, and are in their time`,
      ]
      : []),
    `time: on a device of ${scientific(device.flops)} FLOP/s at ${+(100 * device.utilisation).toFixed(
      2,
    )}% of it`,
    corpus
      ? `sequences: ${count(corpus.train)} for training, ${count(corpus.test)} held out, all scored once`
      : `sequences: ${
        count(m.corpusScored)
      }, new ones in every step of an expert (a --run that is tokenized says how many there are)`,
    "",
    table([
      ["device memory", "weights", "transposed", "gradients", "moments", "batch", "in all", "largest tensor"],
      trainingRow("training one expert", memory.expert),
      trainingRow("training all routers", memory.routers),
      trainingRow("training dense, batch x E", memory.dense),
      inferenceRow("generating, one expert", memory.inference),
      inferenceRow("routing, all routers", memory.routing),
    ]),
    ...(cost.dtype === "f32" ? [] : [
      `stored in ${cost.dtype} while experts and the dense model train: transposed matrices and the activations that are ` +
      "kept; logits, queries, keys and values before they are split, and gradients are f32",
    ]),
    `generating: ${bytes(memory.inference.cache)} of the batch are keys and values of ${m.length} positions`,
    "",
    table([
      ["bytes exchanged", "per exchange", "exchanges", "per node in all", ""],
      [
        "mixture, scores of the rounds",
        decimalBytes(c.bytesPerExchange),
        count(c.exchanges),
        decimalBytes(c.exchanges * c.bytesPerExchange),
        "",
      ],
      ["mixture, scores of the corpus", decimalBytes(c.corpusBytes), "1", decimalBytes(c.corpusBytes), ""],
      [
        "data-parallel dense",
        decimalBytes(c.denseBytesPerStep),
        count(m.steps),
        decimalBytes(c.denseBytesPerNode),
        `${count(Math.round(c.denseBytesPerNode / c.bytesPerNode))} times the mixture's`,
      ],
    ]),
  ].join("\n");
}

const rate = ({ device }: Cost): number => device.flops * device.utilisation;

function trainingRow(name: string, m: TrainingMemory): string[] {
  const parts = [m.weights, m.transposed, m.gradients, m.moments, m.activations + m.other, m.total];
  return [name, ...parts.map(bytes), bytes(m.largest)];
}

function inferenceRow(name: string, m: InferenceMemory): string[] {
  return [
    name,
    bytes(m.weights),
    bytes(m.transposed),
    "",
    "",
    bytes(m.cache + m.activations),
    bytes(m.total),
    "",
  ];
}

const count = (value: number): string => Math.round(value).toLocaleString("en");

/** As 31.02e18: two digits after the point, an exponent of thousands. */
function scientific(value: number): string {
  if (value < 1000) return value.toFixed(2);
  const exponent = 3 * Math.floor(Math.log10(value) / 3);
  return `${(value / 10 ** exponent).toFixed(2)}e${exponent}`;
}

const SECONDS: [unit: string, size: number][] = [
  ["years", 31_557_600],
  ["days", 86_400],
  ["h", 3600],
  ["min", 60],
  ["s", 1],
  ["ms", 1e-3],
  ["µs", 1e-6],
];
const DECIMAL: [unit: string, size: number][] = [["TB", 1e12], ["GB", 1e9], ["MB", 1e6], ["kB", 1e3], [
  "B",
  1,
]];
const BINARY: [unit: string, size: number][] = [
  ["TiB", 2 ** 40],
  ["GiB", 2 ** 30],
  ["MiB", 2 ** 20],
  ["KiB", 2 ** 10],
  ["B", 1],
];

/** In the largest unit that leaves a number of at least one, with about `digits` digits. */
function inUnits(value: number, units: [unit: string, size: number][], digits: number): string {
  const [unit, size] = units.find(([, size]) => value >= size) ?? units[units.length - 1];
  const number = value / size;
  return `${number >= 10 ** (digits - 1) ? count(number) : +number.toPrecision(digits)} ${unit}`;
}

const duration = (seconds: number): string => inUnits(seconds, SECONDS, 3);
const bytes = (size: number): string => inUnits(size, BINARY, 3);
const decimalBytes = (size: number): string => inUnits(size, DECIMAL, 4);
