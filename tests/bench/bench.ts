/**
 * Measures the adapter at hand: its roof, every kernel, training steps and scoring, growth with size, banks of models.
 *
 *   deno task bench [--only roof,kernels,loss,steps,growth,bank] [--sizes R,S,M,4.4M,335M,1.3B] [--variants KERNEL=FORM,…]
 *                   [--dtype f32|bf16] [--profile] [--processor] [--quick] [--model] [--json]
 *
 * Figures are medians of several rounds in one process. A benchmark measures; no test looks at how fast it is.
 *
 * @module
 */

import { parseArgs } from "@std/cli/parse-args";
import { InputError } from "../../kernels/errors.ts";
import { type Gpu, openGpu } from "../../kernels/device/gpu.ts";
import type { Dtype } from "../../kernels/device/storage.ts";
import { formsText, parseVariants } from "../../kernels/device/variants.ts";
import { bankText, type BankTimes, EXPERT, measureBank, measureExperts, ROUTER } from "./bank.ts";
import { AXES, axisText, measureAxis, type PointTimes, QUICK_AXES } from "./growth.ts";
import { KERNELS, SQUARE } from "./kernels.ts";
import { kernelsText, type KernelTimes, measureKernels } from "./measure_kernels.ts";
import { HEADS, headsText, type HeadTimes, measureHead, QUICK_HEAD } from "./loss.ts";
import { measureRoof, type Roof } from "../../kernels/device/roof.ts";
import { MODELS, PAPER, QUICK, type Size, sizeText } from "./sizes.ts";
import { logitsBudget } from "../../pipeline/model/activations.ts";
import { ASSUMPTIONS, MODELLED, modelStep, modelText } from "./model.ts";
import { measureSteps, profileText, stepsText, type StepTimes } from "./steps.ts";
import { columns, digits } from "./text.ts";
import type { Clock, Effort } from "../../kernels/device/time.ts";

const SECTIONS = ["roof", "kernels", "loss", "steps", "growth", "bank"] as const;
type Section = typeof SECTIONS[number];
const SIZES: Record<string, Size> = { ...MODELS, ...PAPER };

const HELP = `Usage: deno task bench [options]

Measures this machine's adapter: its roof, arithmetic and memory; every kernel of a training step and of scoring as a
share of that roof; the loss of vocabularies; training steps and scoring; how time grows with model size, sequence length and number of routers
beside what \`deno task cost\` counts; a bank of 8 models, and 4 experts on two devices, against one after another.

  --only NAMES   some of ${SECTIONS.join()} (default: all)
  --sizes NAMES  some of ${Object.keys(SIZES).join()} (default: all); R, S and M are small
                 models; 4.4M is the paper's router, 335M and 1.3B its experts: of these kernels alone are measured
  --variants KERNEL=FORM,…
                 forms of kernels instead of the adapter's own: ${formsText()}
  --dtype NAME   what the training steps and scoring store activations in: f32 (default) or bf16
  --profile      also break a training step down by kernel; its GB/s count f32
  --processor    time of the processor over its cores instead of the clock: for a software adapter on a busy machine
  --model        judge the forms for GPUs on paper instead, for an H100; opens no device and measures nothing
  --quick        smallest shapes, fewest rounds: a check that it runs, not a measurement
  --json         results as JSON on standard output
  --help         this text`;

/** What `--json` prints; a section that was not asked for is left out. */
export interface BenchResult {
  /** Name of the adapter. */
  adapter: string;
  /** Kind of the adapter. */
  kind: string;
  /** Version of Deno. */
  deno: string;
  /** Forms of the kernels. */
  variants: Gpu["variants"];
  /** What the models of the training steps store activations in. */
  dtype: Dtype;
  /** Whether the figures only show that it runs. */
  quick: boolean;
  /** What time is. */
  clock: Clock;
  /** The roof. */
  roof?: Roof;
  /** Kernels by size; each with a roof measured right before, since machines change their speed. */
  kernels?: { size: string; shape?: Size; roof: Roof; kernels: KernelTimes[] }[];
  /** The loss of several vocabularies. */
  loss?: HeadTimes[];
  /** Training steps and scoring by size, again each with a roof. */
  steps?: (StepTimes & { size: string; shape: Size; roof: Roof })[];
  /** Growth by axis. */
  growth?: { axis: string; points: PointTimes[] }[];
  /** The bank. */
  bank?: BankTimes[];
}

/** What a run measures. */
interface Options {
  sections: ReadonlySet<Section>;
  sizes: Record<string, Size>;
  quick: boolean;
  profile: boolean;
  clock: Clock;
  dtype: Dtype;
  /** Takes text for people as it comes. */
  print: (text: string) => void;
}

const heading = (title: string) => `\n${title}\n${"-".repeat(title.length)}`;
const roofLine = ({ gflops, gbytes }: Roof) =>
  `roof ${digits(gflops)} GFLOP/s in registers, ${digits(gbytes)} GB/s copying`;

async function run(
  gpu: Gpu,
  { sections, sizes, quick, profile, clock, dtype, print }: Options,
): Promise<BenchResult> {
  const rounds = quick ? 1 : 5;
  const effort: Effort = { rounds, seconds: quick ? 0 : 0.05, clock };
  const roofEffort = { ...effort, seconds: 4 * effort.seconds };
  const say = (what: string) => console.error(`measuring ${what} …`);

  const { adapter, kind, variants } = gpu;
  const deno = Deno.version.deno;
  print(columns([
    ["adapter", `${adapter} (${kind})`],
    ["Deno", deno],
    ["variants", Object.entries(variants).map((pair) => pair.join(" ")).join(", ")],
    ["time", clock === "clock" ? "on the clock" : "of the processor, over its cores"],
  ], "ll"));
  const result: BenchResult = { adapter, kind, deno, variants, dtype, quick, clock };
  if (sections.has("roof")) {
    say("the roof");
    result.roof = await measureRoof(gpu, roofEffort, { small: quick });
    print(`${heading("Roof")}\n${roofLine(result.roof)}`);
  }

  if (sections.has("kernels")) {
    print(heading("Kernels"));
    print(
      "a step: how often a training step runs it; FLOPs of the formula, each input read once and each output\n" +
        "written once; above 100% of memory the data come from a cache",
    );
    result.kernels = [];
    for (const [size, shape] of [...(quick ? [] : [["512³"] as const]), ...Object.entries(sizes)]) {
      say(`kernels of ${size}`);
      const roof = await measureRoof(gpu, roofEffort, { small: quick });
      const sized = { ...(shape ?? QUICK), logitsBytes: logitsBudget(gpu.kind, gpu.maxBindingBytes) };
      const kernels = await measureKernels(gpu, shape ? KERNELS : SQUARE, sized, { effort, roof });
      result.kernels.push({ size, shape, roof, kernels });
      const title = shape ? `${size}: ${sizeText(shape)}` : size;
      print(`\n${title}; ${roofLine(roof)}\n${kernelsText(kernels)}`);
    }
  }
  if (sections.has("loss")) {
    result.loss = [];
    for (const head of quick ? [QUICK_HEAD] : HEADS) {
      say(`the loss of ${head.vocabulary} tokens, ${head.models} models`);
      const roof = await measureRoof(gpu, roofEffort, { small: quick });
      result.loss.push(await measureHead(gpu, head, { rounds, clock, roof }));
    }
    print(
      `${heading("Loss: of a scorer, beside the product alone, and of a training step")}\n${
        headsText(result.loss)
      }`,
    );
  }
  if (sections.has("steps")) {
    result.steps = [];
    print(heading(`Training steps and scoring${dtype === "f32" ? "" : ` in ${dtype}`}`));
    for (const [size, shape] of Object.entries(sizes).filter(([size]) => !(size in PAPER))) {
      say(`steps of ${size}`);
      const roof = await measureRoof(gpu, roofEffort, { small: quick });
      const times = {
        size,
        shape,
        roof,
        ...await measureSteps(shape, { rounds, clock, profile, roof, variants, dtype }),
      };
      result.steps.push(times);
      print(`\n${size}: ${sizeText(shape)}; ${roofLine(roof)}\n${stepsText(times)}`);
      if (times.profile) print(`\n${profileText(times.profile)}`);
      else if (profile) print("\nno profile: this adapter has no timestamp queries");
    }
  }
  if (sections.has("growth")) {
    result.growth = [];
    print(heading("Growth"));
    print(
      "time and cost: time per token, and FLOPs per token as `cost` counts them, over those of the first line",
    );
    for (const axis of quick ? QUICK_AXES : AXES) {
      say(`growth with ${axis.title}`);
      const points = await measureAxis(gpu, axis, { rounds: Math.min(rounds, 3), clock });
      result.growth.push({ axis: axis.title, points });
      print(`\n${axis.title}\n${axisText(points)}`);
    }
  }
  if (sections.has("bank")) {
    say("a bank");
    const size = quick ? QUICK : ROUTER;
    const options = { rounds, steps: quick ? 1 : 8, rows: quick ? 8 : 512, clock };
    result.bank = await measureBank(gpu, { size, ...options });
    const other = await openGpu({ variants });
    try {
      const expert = { size: quick ? QUICK : EXPERT, ...options, steps: quick ? 1 : 4 };
      result.bank.push(await measureExperts([gpu, other], expert));
    } finally {
      other.close();
    }
    print(heading("Bank of 8 models, and of 4 experts, against one after another"));
    const shapes = quick ? [size] : [ROUTER, EXPERT];
    print(`${shapes.map(sizeText).join("\n")}\n${bankText(result.bank)}`);
  }
  return result;
}

/** Stops the process with a line on standard error. */
function refuse(why: string): never {
  console.error(`Cannot run bench as ${why}`);
  Deno.exit(2);
}

/** Splits a flag's value; every name must be one of `known`. */
function namesOf<Name extends string>(flag: string, value: string, known: readonly Name[]): Name[] {
  const names = value.split(",") as Name[];
  const wrong = names.find((name) => !known.includes(name));
  if (wrong !== undefined) refuse(`--${flag} must name some of ${known.join()}: it names "${wrong}"`);
  return known.filter((name) => names.includes(name));
}

/** Opens the device with the forms of kernels that a text wishes for. */
async function openChosen(text: string): Promise<Gpu> {
  try {
    return await openGpu({ variants: parseVariants(text) });
  } catch (error) {
    console.error((error as Error).message);
    Deno.exit(error instanceof InputError || error instanceof RangeError ? 2 : 1);
  }
}

if (import.meta.main) {
  const flags = parseArgs(Deno.args, {
    boolean: ["quick", "profile", "processor", "json", "help", "model"],
    string: ["sizes", "only", "variants", "dtype"],
    default: { only: SECTIONS.join(), variants: "", dtype: "f32" },
    unknown: (name) => refuse(`${name} must be one of its flags: see --help`),
  });
  if (flags.help) {
    console.log(HELP);
    Deno.exit(0);
  }
  if (flags.model) {
    const steps = Object.keys(MODELLED).map(modelStep);
    console.log(
      flags.json ? JSON.stringify(steps, null, 2) : [ASSUMPTIONS, ...steps.map(modelText)].join("\n\n"),
    );
    Deno.exit(0);
  }
  const sections = new Set(namesOf("only", flags.only, SECTIONS));
  const known = Object.keys(SIZES);
  const names = namesOf("sizes", flags.sizes ?? known.join(), known);
  const sizes = flags.quick && flags.sizes === undefined
    ? { quick: QUICK }
    : Object.fromEntries(names.map((name) => [name, SIZES[name]]));
  if (flags.sizes !== undefined && !sections.has("kernels")) {
    if (!sections.has("steps")) {
      refuse(`--sizes must have kernels or steps to measure: --only is ${flags.only}`);
    }
    if (names.some((name) => name in PAPER)) {
      refuse(
        `--sizes must name some of ${
          Object.keys(MODELS).join()
        } for training steps, as of others kernels alone are measured: it names ${names.join()}`,
      );
    }
  }
  if (flags.profile && !sections.has("steps")) {
    refuse(`--profile must have training steps to break down: --only is ${flags.only}`);
  }
  const [dtype, ...others] = namesOf("dtype", flags.dtype, ["f32", "bf16"]);
  if (others.length > 0) refuse(`--dtype must be one of f32,bf16: it is ${flags.dtype}`);
  if (dtype !== "f32" && !sections.has("steps")) {
    refuse(`--dtype must have training steps to measure: --only is ${flags.only}`);
  }
  const print = flags.json ? () => {} : console.log;
  const { quick, profile } = flags;
  const clock = flags.processor ? "processor" : "clock";
  const gpu = await openChosen(flags.variants);
  try {
    if (flags.processor && gpu.kind !== "software") {
      refuse(`--processor must meet an adapter that runs on the processor: it is "${gpu.adapter}"`);
    }
    const result = await run(gpu, { sections, sizes, quick, profile, clock, dtype, print });
    if (flags.json) console.log(JSON.stringify(result, null, 2));
    gpu.close();
  } catch (error) {
    console.error((error as Error).message);
    Deno.exit(1);
  }
}
