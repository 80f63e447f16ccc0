/**
 * Lists every WGSL text that is compiled, without a device: what training, scoring and decoding of
 * models plan, in all variants, with f32 and bf16. The models are those of the presets, with one
 * layer.
 *
 * @module
 */

import type { DispatchPlan, Gpu, GpuBuffer } from "../kernels/device/gpu.ts";
import { type Dtype, withStorage } from "../kernels/device/storage.ts";
import type { AdapterKind, Variants } from "../kernels/device/variants.ts";
import { createBranchScorer } from "../pipeline/model/branch_scorer.ts";
import { createDecoder } from "../pipeline/model/decoder.ts";
import type { Weights } from "../pipeline/model/parameters.ts";
import { rowsPerPass } from "../pipeline/model/passes.ts";
import { createScorer } from "../pipeline/model/scorer.ts";
import {
  countValues,
  type ModelConfig,
  modelShapes,
  parameterSpecs,
  switchShape,
} from "../pipeline/model/shape.ts";
import { createTrainer, type Trainer } from "../pipeline/model/trainer.ts";
import { defaultConfiguration } from "../pipeline/settings/configuration.ts";
import { PRESETS } from "../pipeline/settings/resolution.ts";

/** A text as it is compiled, in f32 or with bf16 in it. */
export interface Text {
  label: string;
  code: string;
  /** Values of its overrides. */
  constants: Record<string, number>;
  /** Who asks for it first: variants, dtype and model. */
  by: string;
}

/** A kind of device, and the variants of kernels on it. */
interface Device {
  kind: AdapterKind;
  variants: Variants;
  subgroupSize?: number;
}

const WORKGROUP: Variants = {
  matmul: "workgroup",
  attention: "workgroup",
  rows: "workgroup",
  loss: "chunks",
};

/** Devices such that every variant runs on one. */
export const DEVICES: readonly Device[] = [
  {
    kind: "software",
    subgroupSize: 8,
    variants: { matmul: "subgroup", attention: "subgroup", rows: "subgroup", loss: "chunks" },
  },
  {
    kind: "software",
    variants: { matmul: "registers", attention: "query", rows: "invocation", loss: "chunks" },
  },
  { kind: "gpu", subgroupSize: 32, variants: WORKGROUP },
  {
    kind: "gpu",
    subgroupSize: 32,
    variants: { ...WORKGROUP, matmul: "workgroup_f16", loss: "workgroup" },
  },
];

/** Other sizes of subgroups, which few texts know. */
const OTHERS = [undefined, 4, 8, 16, 64].map((subgroupSize): Device => ({
  kind: "gpu",
  subgroupSize,
  variants: WORKGROUP,
}));

/** A device that runs nothing, and `record`s what is planned; `submit` takes what is submitted. */
export function recordingGpu(
  { kind, variants, subgroupSize }: Device,
  record: (plan: DispatchPlan) => void,
  submit: Gpu["submit"] = () => {},
): Gpu {
  const make = (label: string, size: number, storage?: GpuBuffer["storage"]): GpuBuffer => ({
    label,
    bytes: Math.max(16, Math.ceil(size / 16) * 16),
    storage,
    raw: undefined as unknown as GPUBuffer,
  });
  const recording = {
    kind,
    variants,
    subgroupSize,
    adapter: "a recording one",
    offers: { subgroupsOf8: subgroupSize === 8, f16: true },
    capabilities: { features: [], limits: { maxComputeWorkgroupStorageSize: 48 * 1024 } },
    maxBindingBytes: 2 ** 31 - 1,
    empty: make("empty", 16),
    emptyWritable: make("empty", 16),
    saturated: make("saturated", 16),
    arena: () => ({
      bytes: 0,
      buffer: (label: string, size: number | Uint32Array | Float32Array, storage?: "f32") =>
        make(label, typeof size === "number" ? size : size.byteLength, storage),
      destroy() {},
    }),
    dispatch(plan: DispatchPlan) {
      record(plan);
      const { label, workgroups, models = 1, multiplications = 0 } = plan;
      return { label, grid: [workgroups, 1, models], multiplications: models * multiplications };
    },
    submit,
    write() {},
    read: (ranges: readonly { buffer: GpuBuffer; bytes?: number }[]) =>
      Promise.resolve(ranges.map(({ buffer, bytes }) => new ArrayBuffer(bytes ?? buffer.bytes))),
  };
  return recording as unknown as Gpu;
}

/** A model, and how it is used. */
export interface Use {
  name: string;
  config: ModelConfig;
  /** Models of a bank. */
  models: number;
  batch: number;
  length: number;
  /** Whether it also answers prompts, which takes its weights. */
  answers: boolean;
}

/** The models of the presets; `layers` replaces their number of layers. */
export function presetUses(layers?: number): Use[] {
  return Object.entries(PRESETS).flatMap(([name, values]): Use[] => {
    const configuration = { ...defaultConfiguration(), ...values };
    const { router, expert } = modelShapes(configuration);
    const size = layers === undefined ? {} : { layers };
    const { experts, prefix, routerBatch, expertBatch, sequenceLength: length } = configuration;
    const isPaper = name.startsWith("paper-");
    return [
      {
        name: `router of ${name}`,
        config: { ...router, ...size },
        models: experts,
        batch: routerBatch,
        length: prefix,
        answers: false,
      },
      {
        name: `expert of ${name}`,
        config: { ...expert, ...size },
        models: 1,
        batch: expertBatch,
        length,
        answers: !isPaper, // weights of gigabytes would have to be made
      },
      // Those of the paper's experts exceed a binding: 2 GiB for the experts of one matrix.
      ...isPaper ? [] : [{
        name: `Switch of ${name}`,
        config: { ...switchShape(configuration), ...size },
        models: 1,
        batch: expertBatch,
        length,
        answers: false,
      }],
    ];
  });
}

/** Shapes in which nothing is a multiple of a tile, a panel or a vec4. */
const ODD: Use[] = [
  { hidden: 10, heads: 5, vocabulary: 67, context: 33 },
  { hidden: 36, heads: 3, vocabulary: 1003, context: 70 },
  { hidden: 160, heads: 2, vocabulary: 515, context: 130 },
].map((shape) => ({
  name: `a model of width ${shape.hidden}`,
  config: { ...shape, layers: 1 },
  models: 2,
  batch: 3,
  length: shape.context,
  answers: true,
}));

/** Tokens of a micro-batch, at most. */
const TOKENS = 8192;

const SETTINGS = { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0.1, clip: 1 };

/** Weights of zero. */
const zeros = (config: ModelConfig): Weights =>
  new Map(parameterSpecs(config).map((spec) => [spec.name, new Float32Array(countValues(spec))]));

/** So many models without weights: planning needs their number alone, and nothing walks them. */
const unweighted = ({ models }: Use): Weights[] => new Array(models);

/** Makes a trainer of a model on a device that runs nothing. */
export function planTrainer(gpu: Gpu, use: Use, dtype: Dtype): Trainer {
  const { config, batch, length } = use;
  const start = { step: 0, weights: unweighted(use), moments: [], squares: [] };
  const microBatch = Math.min(batch, Math.max(1, Math.floor(TOKENS / length)));
  return createTrainer(gpu, {
    config,
    start,
    batch,
    microBatch,
    length,
    dtype,
    settings: SETTINGS,
  });
}

/** Plans all that is done with a model on a device. */
export async function planUse(gpu: Gpu, use: Use, dtype: Dtype): Promise<void> {
  const { config, length, answers } = use;
  const models = unweighted(use);
  planTrainer(gpu, use, dtype);
  const rows = rowsPerPass(gpu.maxBindingBytes, config, length);
  createScorer(gpu, { config, models, batch: rows, length, dtype });
  if (!answers) return;
  const weights = zeros(config);
  const decoder = createDecoder(gpu, { config, weights, capacity: length, slots: 3, dtype });
  const ahead = { temperature: 1, topK: 0, topP: 1, most: 1, draw: () => 0.5 };
  for (const tokens of [[1, 2, 3], [4]]) await decoder.readAhead([{ slot: 0, tokens, ahead }]);
  const tokens = Uint32Array.of(1, 2, 3);
  const branching = createBranchScorer(gpu, { config, weights, batch: 2 });
  await branching.score([{ context: tokens, continuations: [tokens] }]);
}

/** Lists all texts, each once. */
export async function listTexts(): Promise<Text[]> {
  const texts = new Map<string, Text>();
  const planAll = async (device: Device, uses: readonly Use[]) => {
    const variants = [...new Set(Object.values(device.variants))].join("+");
    for (const dtype of ["f32", "bf16"] as const) {
      for (const use of uses) {
        const by = `${variants} with subgroups of ${device.subgroupSize}, ${dtype}, ${use.name}`;
        const gpu = recordingGpu(device, ({ label, code: plain, constants = {}, buffers }) => {
          const code = withStorage(label, plain, buffers.map(({ storage }) => storage));
          const key = JSON.stringify([label, code, constants]);
          if (!texts.has(key)) texts.set(key, { label, code, constants, by });
        });
        await planUse(gpu, use, dtype);
      }
    }
  };
  for (const device of DEVICES) await planAll(device, [...presetUses(1), ...ODD]);
  for (const device of OTHERS) await planAll(device, ODD.slice(1, 2));
  return [...texts.values()];
}
