/**
 * Examines a machine that is to train models: its drivers and adapter, whether the adapter computes
 * right, how much memory it grants, and how fast it is.
 */

import { RunError } from "../../kernels/errors.ts";
import { PLANNED_SHARE } from "../../kernels/device/buffers.ts";
import { type Gpu, openGpu } from "../../kernels/device/gpu.ts";
import { measurePeak, type Peak } from "../../kernels/device/peak.ts";
import {
  KERNEL_VARIANTS,
  type Offers,
  runnable,
  variantReasons,
  type Variants,
} from "../../kernels/device/variants.ts";
import { trainingFlops } from "../cost/flops.ts";
import { trainingMemory } from "../cost/memory.ts";
import { initialWeights } from "../model/parameters.ts";
import { createTrainer } from "../model/trainer.ts";
import { isNvidia } from "../graph/driver.ts";
import { keepMeasured } from "../graph/timing.ts";
import { type DoctorProblem, listAdvice, wordVariants } from "./advice.ts";
import { compareBits } from "./bits.ts";
import { GOLDEN_CASES, GOLDEN_LIMITS, goldenErrors, type GoldenResult } from "./golden.ts";
import { type FoundAdapter, otherAdapters, readSystem, type System } from "./system.ts";

/** What {@linkcode examine} found. */
export interface Diagnosis {
  /** What the system shows. */
  system: System;
  /** The adapter that was handed out; undefined where there is none. */
  adapter?: AdapterDiagnosis;
  /** Why there is no adapter. */
  refusal?: string;
  /** What each driver hands out alone; undefined where nobody could ask. */
  others?: FoundAdapter[];
  /** What is wrong, the worst first. */
  problems: DoctorProblem[];
}

/**
 * An adapter, as far as it could be examined: its name and kind; the `backend`s of WebGPU that were
 * allowed; the driver and its version, as far as the system tells; the optional features that some
 * variants need, and whether it `offers` them; the features that it lists, and the limits that a
 * device gets; the variant of each kernel that runs, and why (`forms`); bytes of buffers that can
 * be had at once, and the most that was asked for (`memory`); how far each set of variants is from
 * the golden values; whether several ways to compute the same give the same `bits`; its peak of
 * arithmetic and of memory traffic (`roof`); a training `step`; the file that the figures are
 * `kept` in, undefined where they are not kept.
 *
 * @ignore Its type is inferred.
 */
export type AdapterDiagnosis = Awaited<ReturnType<typeof examineAdapter>>;

/** What {@linkcode examine} takes. */
export interface ExamineOptions {
  /** Part of the adapter's name, or a preference. */
  adapter?: string;
  /** Variants of kernels instead of the adapter's own. */
  variants?: Partial<Variants>;
  /**
   * Takes the smallest sizes and one round. This only shows that everything runs; the figures are
   * not kept.
   */
  quick?: boolean;
  /** Called with what is examined next. */
  onStep?: (stepName: string) => void;
  /** Ends the work. */
  signal?: AbortSignal;
}

/**
 * Models for the training step, the largest first: an expert and a router of the paper, and one for
 * software adapters.
 */
const STEP_MODELS = {
  expert: { vocabulary: 32_000, hidden: 1024, layers: 24, heads: 16, batch: 4, context: 1024 },
  router: { vocabulary: 32_000, hidden: 96, layers: 12, heads: 12, batch: 32, context: 256 },
  small: { vocabulary: 512, hidden: 96, layers: 4, heads: 4, batch: 32, context: 128 },
  least: { vocabulary: 64, hidden: 32, layers: 1, heads: 4, batch: 4, context: 32 },
} as const;

const SECONDS = 2;
const MOST_BYTES = 256 * 2 ** 30;

/**
 * Examines this machine. Errors of the adapter are reported in the result. Throws an `InputError`
 * where the adapter that was asked for, or a variant of a kernel, is not available.
 */
export async function examine(options: ExamineOptions = {}): Promise<Diagnosis> {
  const { adapter: wanted, variants, onStep = () => {}, signal } = options;
  const step = (stepName: string) => {
    signal?.throwIfAborted();
    onStep(stepName);
  };
  step("the system");
  const system = await readSystem();
  const opened = await openGpu({ adapter: wanted, variants }).catch((error) => {
    if (!(error instanceof RunError)) throw error;
    return error;
  });
  step("other adapters");
  const usable = system.drivers.filter(({ problem }) => problem === undefined);
  const others = await otherAdapters(usable.map(({ path }) => path));
  if (opened instanceof RunError) {
    return { system, refusal: opened.message, others, problems: listAdvice({ system, others }) };
  }
  try {
    const adapter = await examineAdapter(opened, system, { ...options, onStep: step });
    return { system, adapter, others, problems: listAdvice({ system, adapter, others }) };
  } finally {
    opened.close();
  }
}

async function examineAdapter(gpu: Gpu, system: System, options: ExamineOptions) {
  const { variants = {}, quick = false, onStep: step = () => {} } = options;
  const { adapter: name, kind, offers, capabilities: { features, limits } } = gpu;
  step("memory");
  const asked = kind === "gpu" ? MOST_BYTES : Math.floor(0.8 * (system.availableBytes ?? 2 ** 30));
  const allocatable = await gpu.allocatable(asked);
  const largest = await gpu.largestBuffer(limits.maxBufferSize);
  step("golden values");
  const golden = await checkVariants(gpu, options);
  step("equal bits");
  const bits = await compareBits(gpu);
  step("the peak");
  const effort = { rounds: quick ? 1 : 5, seconds: quick ? 0 : 0.2, clock: "clock" } as const;
  const peak = await measurePeak(gpu, effort, { small: quick, halves: true });
  step("a training step");
  const trained = await measureStep(gpu, peak, { allocatable, quick });
  const figures = {
    ...peak,
    utilisation: Math.min(1, trained.utilisation),
    kind,
    at: new Date().toISOString(),
  };
  const isUsual = !quick && Object.keys(variants).length === 0;
  return {
    name,
    kind,
    offers,
    features,
    limits,
    golden,
    bits,
    roof: peak,
    step: trained,
    backend: system.environment.DENO_WEBGPU_BACKEND ?? "any",
    driver: driverName(gpu, system),
    forms: variantReasons(kind, offers, gpu.variants, variants),
    memory: { allocatable, asked, largest },
    kept: isUsual ? await keepMeasured(name, figures) : undefined,
  };
}

/** Names the driver and its version, as far as the system tells. */
function driverName(gpu: Gpu, { nvidia, mesa }: System): string {
  if (isNvidia(gpu) && nvidia) return `NVIDIA ${nvidia}`;
  return mesa === undefined ? "unknown to the system" : `Mesa ${mesa}`;
}

/** Lists sets of variants such that every variant that the adapter can run is in one of them. */
function variantSets(chosen: Variants, offers: Offers): Variants[] {
  const kernels = Object.entries(KERNEL_VARIANTS) as [string, readonly string[]][];
  const names = [...new Set(Object.values(KERNEL_VARIANTS).flat())].filter((name) =>
    runnable(name, offers)
  );
  const sets = names.map((name): Variants => {
    const variantKernels = kernels.filter(([, variants]) => variants.includes(name));
    return { ...chosen, ...Object.fromEntries(variantKernels.map(([kernel]) => [kernel, name])) };
  });
  return [...new Map([chosen, ...sets].map((set) => [wordVariants(set), set])).values()];
}

/**
 * Trains the golden steps in every variant that the adapter runs, on the adapter that was asked
 * for.
 */
async function checkVariants(
  gpu: Gpu,
  { adapter, quick, signal }: ExamineOptions,
): Promise<GoldenResult[]> {
  const [dtypes, models] = quick
    ? [["f32"], ["tiny"]] as const
    : [["f32", "bf16"], GOLDEN_CASES] as const;
  const trials = dtypes.flatMap((dtype) => models.map((model) => ({ dtype, model })));
  const results: GoldenResult[] = [];
  for (const variants of variantSets(gpu.variants, gpu.offers)) {
    const variantGpu = await openGpu({ adapter, variants });
    try {
      for (const { dtype, model } of trials) {
        signal?.throwIfAborted();
        const errors = await goldenErrors(variantGpu, model, dtype);
        const limits =
          GOLDEN_LIMITS[dtype === "bf16" ? "bf16" : /f16/.test(variants.matmul) ? "f16" : "f32"];
        const right = (["loss", "norm", "gradients"] as const).every((name) =>
          errors[name] <= limits[name]
        );
        results.push({ variants, dtype, model, ...errors, right });
      }
    } finally {
      variantGpu.close();
    }
  }
  return results;
}

/**
 * Trains for two seconds: the largest of the models that are meant for such an adapter and fit its
 * memory. Gives tokens a second, and GFLOP/s as costs count them with their share of the f32 peak.
 */
async function measureStep(
  gpu: Gpu,
  peak: Peak,
  { allocatable, quick }: { allocatable: number; quick: boolean },
) {
  const { expert, router, small, least } = STEP_MODELS;
  const most = { limit: gpu.maxBindingBytes, kind: gpu.kind, loss: gpu.variants.loss };
  const fits = (model: typeof expert | typeof router) =>
    trainingMemory(model, { ...model, length: model.context, ...most }).total <
      PLANNED_SHARE * allocatable;
  const model = quick
    ? least
    : gpu.kind === "software"
    ? small
    : [expert, router].find(fits) ?? small;
  const { batch, context: length, vocabulary } = model;
  const settings = { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0.1, clip: 1 };
  const start = [initialWeights(model, 0)];
  const trainer = createTrainer(gpu, { config: model, start, batch, length, settings });
  try {
    const tokens = new Uint32Array(batch * length)
      .map((_, i) => (Math.imul(i, 2_654_435_761) >>> 7) % vocabulary);
    const input = { tokens, lengths: new Uint32Array(batch).fill(length) };
    trainer.step(input, 1e-3);
    await trainer.drain(); // compiles
    let [steps, seconds] = [0, 0];
    for (let at = 1; seconds < (quick ? 0.01 : SECONDS); at = Math.min(64, 2 * at)) {
      const begin = performance.now();
      for (let i = 0; i < at; i++) trainer.step(input, 1e-3);
      await trainer.drain();
      [steps, seconds] = [steps + at, seconds + (performance.now() - begin) / 1000];
    }
    const gflops = steps * trainingFlops(model, batch, length) / seconds / 1e9;
    const tokensPerSecond = steps * batch * length / seconds;
    return { model, tokensPerSecond, gflops, utilisation: gflops / peak.gflops };
  } finally {
    trainer.close();
  }
}
