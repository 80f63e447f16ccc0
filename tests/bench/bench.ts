/**
 * Measures the adapter at hand: its peak, every kernel, training steps and scoring, banks of
 * models, architectures.
 *
 *   deno task bench [--only peak,kernels,loss,steps,bank,architectures] [--sizes R,S,M,4.4M,335M,1.3B] [--variants KERNEL=VARIANT,…]
 *                   [--dtype f32|bf16] [--profile] [--processor] [--quick] [--model] [--json]
 *
 * Figures are medians of several rounds in one process. A benchmark measures; no test looks at how
 * fast it is.
 *
 * @module
 */

import { type Gpu, openGpu } from "../../kernels/device/gpu.ts";
import type { Dtype } from "../../kernels/device/storage.ts";
import { parseVariants, variantsText } from "../../kernels/device/variants.ts";
import {
  architecturesText,
  type ArchitectureTimes,
  measureArchitectures,
} from "./architectures.ts";
import { bankText, type BankTimes, measureBank, measureExperts } from "./bank.ts";
import { benchFlags, refuse } from "./flags.ts";
import { kernelsOf, SQUARE } from "./kernels.ts";
import { kernelsText, type KernelTimes, measureKernels } from "./measure_kernels.ts";
import { HEADS, headsText, type HeadTimes, measureHead, QUICK_HEAD } from "./loss.ts";
import { measurePeak, type Peak } from "../../kernels/device/peak.ts";
import { EXPERT, MODELS, PAPER, QUICK, ROUTER, type Size, sizeText } from "./sizes.ts";
import { logitsBudget } from "../../pipeline/model/activations.ts";
import { ASSUMPTIONS, MODELLED, modelStep, modelText } from "./model.ts";
import { measureSteps, profileText, stepsText, type StepTimes } from "./steps.ts";
import { columns, digits } from "./text.ts";
import type { Clock, Effort } from "../../kernels/device/time.ts";

const SIZES: Record<string, Size> = { ...MODELS, ...PAPER };

const ABOUT =
  `Measures this machine's adapter: its peak, arithmetic and memory; every kernel of a training step and of scoring as a
share of that peak; the loss of vocabularies; training steps and scoring; a bank of 8 models, and 4 experts on two devices, against one after
another; models of Llama's shape against GPT-NeoX's.

R, S and M are small models; 4.4M is the paper's router, 335M and 1.3B its experts: of these kernels alone are measured.
--variants takes other variants of kernels than the adapter's own: ${variantsText()}
--dtype is what the training steps and scoring store activations in; --profile breaks a training step down by kernel
--processor takes time of the processor over its cores instead of the clock: for a software adapter on a busy machine
--model judges the variants for GPUs on paper instead, for an H100; --quick only shows that everything runs`;

/** What `--json` prints; a section that was not asked for is left out. */
export interface BenchResult extends Record<"adapter" | "kind" | "deno", string> {
  /** Variants of the kernels. */
  variants: Gpu["variants"];
  /** What the models of the training steps store activations in. */
  dtype: Dtype;
  /** Whether the figures only show that it runs. */
  quick: boolean;
  /** What time is. */
  clock: Clock;
  peak?: Peak;
  /** Kernels by size; each with a peak measured right before, since machines change their speed. */
  kernels?: { size: string; shape?: Size; peak: Peak; kernels: KernelTimes[] }[];
  /** The loss of several vocabularies. */
  loss?: HeadTimes[];
  /** Training steps and scoring by size, again each with a peak. */
  steps?: (StepTimes & { size: string; shape: Size; peak: Peak })[];
  bank?: BankTimes[];
  architectures?: ArchitectureTimes[];
}

/** What a run measures. */
interface Options extends Pick<BenchResult, "quick" | "clock" | "dtype"> {
  gpu: Gpu;
  sizes: Record<string, Size>;
  profile: boolean;
  rounds: number;
  effort: Effort;
  /** Measures the peak. */
  peakNow: () => Promise<Peak>;
  /** Takes text for people as it comes. */
  print: (text: string) => void;
}

const heading = (title: string) => `\n${title}\n${"-".repeat(title.length)}`;
const say = (what: string) => console.error(`measuring ${what} …`);
const peakLine = ({ gflops, gbytes }: Peak) =>
  `peak ${digits(gflops)} GFLOP/s in registers, ${digits(gbytes)} GB/s copying`;

/** What may be measured, in this order; each prints its tables. */
const SECTIONS = {
  async peak({ peakNow, print }: Options) {
    say("the peak");
    const peak = await peakNow();
    print(`${heading("Peak")}\n${peakLine(peak)}`);
    return { peak };
  },
  async kernels({ gpu, sizes, quick, effort, peakNow, print }: Options) {
    print(heading("Kernels"));
    print(
      "a step: how often a training step runs it; FLOPs of the formula, each input read once and each output\n" +
        "written once; above 100% of memory the data come from a cache",
    );
    const all: BenchResult["kernels"] = [];
    for (const [size, shape] of [...(quick ? [] : [["512³"] as const]), ...Object.entries(sizes)]) {
      say(`kernels of ${size}`);
      const peak = await peakNow();
      const logitsBytes = logitsBudget(gpu.kind, gpu.maxBindingBytes);
      const uses = shape ? kernelsOf({ ...shape, logitsBytes }, gpu.variants.loss) : SQUARE;
      const kernels = await measureKernels(gpu, uses, { effort, peak });
      all.push({ size, shape, peak, kernels });
      const title = shape ? `${size}: ${sizeText(shape)}` : size;
      print(`\n${title}; ${peakLine(peak)}\n${kernelsText(kernels)}`);
    }
    return { kernels: all };
  },
  async loss({ gpu, quick, rounds, clock, peakNow, print }: Options) {
    const loss: HeadTimes[] = [];
    for (const head of quick ? [QUICK_HEAD] : HEADS) {
      say(`the loss of ${head.vocabulary} tokens, ${head.models} models`);
      loss.push(await measureHead(gpu, head, { rounds, clock, peak: await peakNow() }));
    }
    const title = "Loss: of a scorer, next to the product alone, and of a training step";
    print(`${heading(title)}\n${headsText(loss)}`);
    return { loss };
  },
  async steps(
    { gpu: { variants }, sizes, dtype, profile, peakNow, print, rounds, clock }: Options,
  ) {
    const all: BenchResult["steps"] = [];
    print(heading(`Training steps and scoring${dtype === "f32" ? "" : ` in ${dtype}`}`));
    for (const [size, shape] of Object.entries(sizes).filter(([size]) => !(size in PAPER))) {
      say(`steps of ${size}`);
      const peak = await peakNow();
      const times = await measureSteps(shape, { rounds, clock, profile, peak, variants, dtype });
      all.push({ size, shape, peak, ...times });
      print(`\n${size}: ${sizeText(shape)}; ${peakLine(peak)}\n${stepsText(times)}`);
      if (times.profile) print(`\n${profileText(times.profile)}`);
      else if (profile) print("\nno profile: this adapter has no timestamp queries");
    }
    return { steps: all };
  },
  async bank({ gpu, quick, rounds, clock, print }: Options) {
    say("a bank");
    const [router, expert] = quick ? [QUICK, QUICK] : [ROUTER, EXPERT];
    const options = { rounds, rows: quick ? 8 : 512, clock };
    const bank = await measureBank(gpu, { size: router, steps: quick ? 1 : 8, ...options });
    const other = await openGpu({ variants: gpu.variants });
    try {
      bank.push(
        await measureExperts([gpu, other], { size: expert, steps: quick ? 1 : 4, ...options }),
      );
    } finally {
      other.close();
    }
    print(heading("Bank of 8 models, and of 4 experts, against one after another"));
    print(`${sizeText(router)}\n${sizeText(expert)}\n${bankText(bank)}`);
    return { bank };
  },
  async architectures({ gpu, sizes, rounds, clock, dtype, print }: Options) {
    const architectures: ArchitectureTimes[] = [];
    for (const [name, size] of Object.entries(sizes).filter(([name]) => !(name in PAPER))) {
      say(`architectures of ${name}`);
      architectures.push(...await measureArchitectures(gpu, name, size, { rounds, clock, dtype }));
    }
    print(
      `${heading("Llama's shape next to GPT-NeoX's")}\n${architecturesText(architectures)}`,
    );
    return { architectures };
  },
};

if (import.meta.main) {
  const flags = benchFlags(ABOUT, {
    only: { some: Object.keys(SECTIONS) as (keyof typeof SECTIONS)[] },
    sizes: { some: Object.keys(SIZES) },
    variants: "",
    dtype: { one: ["bf16", "f32"] },
    profile: false,
    processor: false,
    model: false,
    quick: false,
    json: false,
  });
  const { quick, profile, dtype, json } = flags;
  if (flags.model) {
    const steps = Object.keys(MODELLED).map(modelStep);
    console.log(
      json ? JSON.stringify(steps, null, 2) : [ASSUMPTIONS, ...steps.map(modelText)].join("\n\n"),
    );
    Deno.exit(0);
  }
  const print = json ? () => {} : console.log;
  const clock = flags.processor ? "processor" : "clock";
  const gpu = await Promise.try(() => openGpu({ variants: parseVariants(flags.variants) }))
    .catch((error) => refuse(error.message));
  const { adapter, kind, variants } = gpu;
  if (flags.processor && kind !== "software") {
    refuse(`--processor must meet an adapter that runs on the processor: it is "${adapter}"`);
  }
  const rounds = quick ? 1 : 5;
  const effort: Effort = { rounds, seconds: quick ? 0 : 0.05, clock };
  const options: Options = {
    gpu,
    quick,
    profile,
    clock,
    dtype,
    print,
    rounds,
    effort,
    sizes: quick
      ? { quick: QUICK }
      : Object.fromEntries(flags.sizes.map((name) => [name, SIZES[name]])),
    peakNow: () => measurePeak(gpu, { ...effort, seconds: 4 * effort.seconds }, { small: quick }),
  };
  const deno = Deno.version.deno;
  print(columns([
    ["adapter", `${adapter} (${kind})`],
    ["Deno", deno],
    ["variants", Object.entries(variants).map((pair) => pair.join(" ")).join(", ")],
    ["time", clock === "clock" ? "on the clock" : "of the processor, over its cores"],
  ], "ll"));
  const result: BenchResult = { adapter, kind, deno, variants, dtype, quick, clock };
  for (const section of flags.only) Object.assign(result, await SECTIONS[section](options));
  if (json) console.log(JSON.stringify(result, null, 2));
  gpu.close();
}
