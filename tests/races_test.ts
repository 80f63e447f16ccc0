import { assert, assertEquals } from "@std/assert";
import { adamw, adamwScratch, adamwStep } from "../kernels/adamw/adamw.ts";
import { DeviceError } from "../kernels/device/failures.ts";
import { type Dispatch, type Gpu, openGpu } from "../kernels/device/gpu.ts";
import type { Matrix } from "../kernels/device/matrix.ts";
import type { Variants } from "../kernels/device/variants.ts";
import { layerNormBackward, layerNormScratch } from "../kernels/layer_norm/layer_norm.ts";
import { matmulTransposed } from "../kernels/matmul/matmul_transposed.ts";
import { createDecoder } from "../pipeline/model/decoder.ts";
import { initialWeights } from "../pipeline/model/parameters.ts";
import { createScorer } from "../pipeline/model/scorer.ts";
import type { ModelConfig } from "../pipeline/model/shape.ts";
import { createTrainer } from "../pipeline/model/trainer.ts";
import { GOLDEN_LIMITS } from "../pipeline/doctor/golden.ts";
import { uniform } from "../pipeline/random.ts";
import type { Printed } from "./subgroups.ts";

/** Places that are spoilt. */
const MUTANTS = Number(Deno.env.get("SMALLTALK_MUTANTS") ?? 20);
const SEED = Number(Deno.env.get("SMALLTALK_SEED") ?? 1);
const LEAST_FOUND = 0.8;

const WORKGROUP: Variants = {
  matmul: "workgroup",
  attention: "workgroup",
  rows: "workgroup",
  loss: "chunks",
};
/** Nothing in it is a multiple of a tile; its sums take many slices. */
const MODEL: ModelConfig = { vocabulary: 203, hidden: 20, layers: 1, heads: 2, context: 37 };
const BATCH = 2;
/** Rows are summed by more than half of a workgroup's lanes, where the first halving is seen. */
const WIDE: ModelConfig = { ...MODEL, hidden: 100, heads: 10 };
/** So many that more than half of the lanes that add up blocks of them have some. */
const MANY_WEIGHTS = 129 * 16_384;
const MANY_ROWS = 600;
const SWITCHING: ModelConfig = {
  ...MODEL,
  sublayers: ["attention", "switch"],
  switch: { experts: 3, capacity: 1.25, balance: 0.01 },
};
const settings = { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0.1, clip: 1 };
const lengths = Uint32Array.from({ length: BATCH }, (_, i) => MODEL.context - i);
const tokens = Uint32Array.from(
  { length: BATCH * MODEL.context },
  (_, i) => Math.floor(MODEL.vocabulary * uniform(1, "tokens", i)),
);

/**
 * Has lavapipe run so many lanes at once. Each number needs a cache of its own: Mesa's would give
 * what was compiled for another.
 */
function lanesEnvironment(lanes: number): Record<string, string> {
  const temporary = Deno.env.get("TMPDIR") ?? "/tmp";
  return {
    LP_NATIVE_VECTOR_WIDTH: String(32 * lanes),
    MESA_SHADER_CACHE_DIR: `${temporary}/mesa-shaders-of-${lanes}-lanes`,
  };
}

/** Rewrites the text of a plan. */
type Rewrite = (code: string) => string;

/** The same work by lanes in the reverse order: lavapipe runs those of low numbers first. */
function mirrored(code: string): string {
  const [, size] = /@workgroup_size\(([^)]+)\)/.exec(code)!;
  const entry = /@builtin\(local_invocation_index\) lane: u32([^{]*)\{/;
  assert(entry.test(code) || size === "1", `no lanes in ${code}`);
  return code.replace(
    entry,
    `@builtin(local_invocation_index) lane_in_order: u32$1{\n` +
      `  let lane = u32(${size}) - 1u - lane_in_order;`,
  );
}

/**
 * lavapipe runs the lanes of a subgroup at the same time, and one subgroup after another: in small
 * ones it shows more races. It reads its environment as its first device opens.
 */
const LANES_AT_ONCE = 4;
for (const [name, value] of Object.entries(lanesEnvironment(LANES_AT_ONCE))) {
  Deno.env.set(name, value);
}

let base = await openGpu({ variants: WORKGROUP });
assertEquals(base.subgroupSize, LANES_AT_ONCE, "subgroups of the driver");

/**
 * The device with texts rewritten; `record` gets those that run. They use no subgroups, so that
 * they say which lane is which.
 */
function deviceWith(
  variants: Variants,
  rewrite: Rewrite,
  record: (code: string) => void = () => {},
): Gpu {
  const codes = new Map<Dispatch, string>();
  return {
    ...base,
    kind: "gpu",
    subgroupSize: undefined,
    variants,
    dispatch(plan) {
      const dispatch = base.dispatch({ ...plan, code: rewrite(plan.code) });
      codes.set(dispatch, plan.code);
      return dispatch;
    },
    submit(dispatches) {
      for (const dispatch of dispatches) record(codes.get(dispatch)!);
      base.submit(dispatches);
    },
  };
}

/** Two models that learn from the same text. */
const input = {
  tokens: Uint32Array.from([...tokens, ...tokens]),
  lengths: Uint32Array.from([...lengths, ...lengths]),
};

/** Trains a bank of two models for two steps, and gives the bits of its losses and weights. */
async function trainedBits(gpu: Gpu, config: ModelConfig): Promise<string> {
  const start = [1, 2].map((seed) => initialWeights(config, seed));
  const trainer = createTrainer(gpu, {
    config,
    start,
    batch: BATCH,
    length: config.context,
    settings,
  });
  try {
    for (const rate of [0.01, 0.01]) trainer.step(input, rate);
    const steps = await trainer.drain();
    const weights = await trainer.weights();
    return bitsOf([
      ...steps.map(({ nll }) => nll),
      ...weights.flatMap((own) => [...own.values()]),
    ]);
  } finally {
    trainer.close();
  }
}

/** Scores with a model, and gives the bits. */
async function scoredBits(gpu: Gpu, config: ModelConfig): Promise<string> {
  const scorer = createScorer(gpu, {
    config,
    models: [initialWeights(config, 1)],
    batch: BATCH,
    length: config.context,
  });
  try {
    return bitsOf([await scorer.score(tokens, config.context, lengths)]);
  } finally {
    scorer.close();
  }
}

/** Writes two texts, of which the device chooses the tokens, and gives the bits of the logits. */
async function decodedBits(gpu: Gpu, config: ModelConfig): Promise<string> {
  const slots = 2;
  const decoder = createDecoder(gpu, {
    config,
    weights: initialWeights(config, 1),
    capacity: config.context,
    slots,
    readEvery: 4,
  });
  const choices = [{ temperature: 2, topK: 0, topP: 1 }, { temperature: 2, topK: 40, topP: 0.9 }];
  try {
    const steps = await decoder.readAhead(choices.map((choice, slot) => ({
      slot,
      tokens: tokens.subarray(slot, slot + 3),
      ahead: { ...choice, most: 3, draw: (token: number) => uniform(slot, "draw", token) },
    })));
    return bitsOf(steps.flat().map(({ logits }) => logits));
  } finally {
    decoder.close();
  }
}

/**
 * Runs kernels whose sums are short in small models: of many gradients, of many rows, and of the
 * terms of a layer whose bias lies apart. Gives the bits.
 */
async function longSumsBits(gpu: Gpu): Promise<string> {
  const arena = gpu.arena();
  const filled = (label: string, count: number) => {
    const values = Float32Array.from({ length: count }, (_, i) => {
      return (Math.imul(i, 2_654_435_761) >>> 8) / 2 ** 24 - 0.5;
    });
    return arena.buffer(label, values);
  };
  const matrix = (label: string, rows: number, columns: number): Matrix => {
    return { buffer: filled(label, rows * columns), stride: columns, model: 0 };
  };
  try {
    const zeros = () => [arena.buffer("zeros", 4 * MANY_WEIGHTS)];
    const segments = [{ size: MANY_WEIGHTS, decayed: MANY_WEIGHTS }];
    const norms = arena.buffer("norms", 4);
    const [rows, columns] = [MANY_ROWS, 20];
    const dParameters = matrix("gradients of a norm", 2, columns);
    const weight = matrix("gradient of a layer", 24, columns);
    const bias = arena.buffer("gradient of a bias", 4 * 24);
    gpu.submit([
      ...adamw(gpu, {
        ...settings,
        models: 1,
        segments,
        weights: zeros(),
        gradients: [filled("gradients", MANY_WEIGHTS)],
        moments: zeros(),
        squares: zeros(),
        partial: arena.buffer("partial", 4 * adamwScratch(segments, 1)),
        scale: arena.buffer("scale", 4),
        step: arena.buffer("step", adamwStep(1, 0.01, settings)),
        slot: arena.buffer("slot", 8),
        norms,
      }),
      ...layerNormBackward(gpu, {
        models: 1,
        rows,
        columns,
        dY: filled("gradient", rows * columns),
        x: filled("x", rows * columns),
        statistics: filled("statistics", 2 * rows),
        parameters: matrix("parameters", 2, columns),
        dX: filled("gradient of x", rows * columns),
        dParameters,
        partial: arena.buffer("partial", 4 * layerNormScratch({ models: 1, rows, columns })),
      }),
      ...matmulTransposed(gpu, {
        models: 1,
        m: 24,
        n: columns,
        k: MANY_ROWS,
        a: matrix("a", MANY_ROWS, 24),
        b: matrix("b", MANY_ROWS, columns),
        c: weight,
        sums: bias,
      }),
    ]);
    const buffers = [norms, dParameters.buffer, weight.buffer, bias];
    const values = await gpu.read(buffers.map((buffer) => ({ buffer })));
    return bitsOf(values.map((bytes) => new Float32Array(bytes)));
  } finally {
    arena.destroy();
  }
}

const bitsOf = (lists: readonly (Float32Array | Float64Array)[]): string =>
  lists.map(({ buffer, byteOffset, byteLength }) =>
    new Uint8Array(buffer, byteOffset, byteLength).toHex()
  ).join();

type Work = { name: string; variants: Variants; run: (gpu: Gpu) => Promise<string> };

/** What is done: every text of the variants for GPUs takes part in some of it. */
const WORKS: Work[] = [
  { name: "training", variants: WORKGROUP, run: (gpu) => trainedBits(gpu, MODEL) },
  {
    name: "training without logits",
    variants: { ...WORKGROUP, loss: "workgroup" },
    run: (gpu) => trainedBits(gpu, MODEL),
  },
  { name: "a Switch Transformer", variants: WORKGROUP, run: (gpu) => trainedBits(gpu, SWITCHING) },
  { name: "scoring", variants: WORKGROUP, run: (gpu) => scoredBits(gpu, MODEL) },
  { name: "decoding", variants: WORKGROUP, run: (gpu) => decodedBits(gpu, MODEL) },
  { name: "training a wide model", variants: WORKGROUP, run: (gpu) => trainedBits(gpu, WIDE) },
  { name: "long sums", variants: WORKGROUP, run: longSumsBits },
];

/** Right bits, and the texts with workgroup memory, by work. */
const right = new Map<Work, { bits: string; codes: Set<string> }>();
async function rightOf(work: Work) {
  const known = right.get(work);
  if (known) return known;
  const codes = new Set<string>();
  const gpu = deviceWith(work.variants, (code) => code, (code) => {
    if (code.includes("workgroupBarrier")) codes.add(code);
  });
  const made = { bits: await work.run(gpu), codes };
  right.set(work, made);
  return made;
}

for (const work of WORKS) {
  Deno.test(`mirrored lanes give the same bits in ${work.name}`, async () => {
    const { bits } = await rightOf(work);
    assertEquals(await work.run(deviceWith(work.variants, mirrored)), bits);
  });
}

const SCRIPT = new URL("subgroups.ts", import.meta.url).pathname;

/** Runs the script with its environment; gives what it prints, and what drivers and layers print. */
async function printedWith(env: Record<string, string>) {
  const args = ["run", "--no-prompt", "--no-check", "-A", SCRIPT];
  const output = await new Deno.Command(Deno.execPath(), { args, env }).output();
  const [text, errors] = [output.stdout, output.stderr].map((own) => new TextDecoder().decode(own));
  assert(output.success, errors);
  const lines = text.trimEnd().split("\n");
  const printed: Printed = JSON.parse(lines.pop()!);
  return { printed, others: [...lines, ...errors.split("\n")] };
}

/** Throws unless golden values are met, and shuffles change no bit. */
function assertRight({ errors, sameBits }: Printed): void {
  const limits = GOLDEN_LIMITS.f32;
  for (const own of errors) {
    for (const name of ["loss", "norm", "gradients"] as const) {
      assert(own[name] <= limits[name], `${name} is off by ${own[name]}`);
    }
  }
  assert(sameBits, "shuffles change bits");
}

for (const size of [4, 8, 16]) {
  Deno.test(`texts for GPUs with subgroups of ${size} meet golden values, with the bits of those without`, async () => {
    const { printed } = await printedWith(lanesEnvironment(size));
    assertEquals(printed.size, size);
    assertRight(printed);
  });
}

const VALIDATION = "/usr/share/vulkan/explicit_layer.d/VkLayer_khronos_validation.json";
const hasValidation = await Deno.stat(VALIDATION).then(() => true, () => false);

Deno.test(
  "Vulkan's validation layer finds no error and no hazard of synchronisation in golden steps",
  { ignore: !hasValidation && Deno.env.get("SMALLTALK_REQUIRE_VALIDATION") !== "1" },
  async () => {
    const { printed, others } = await printedWith({
      VK_INSTANCE_LAYERS: "VK_LAYER_KHRONOS_validation",
      VK_KHRONOS_VALIDATION_VALIDATE_SYNC: "true",
      VK_LOADER_DEBUG: "layer",
    });
    assertRight(printed);
    const isLoaded = others.some((line) =>
      /Insert.* layer.*VK_LAYER_KHRONOS_validation/.test(line)
    );
    assert(isLoaded, `the layer is not there:\n${others.join("\n")}`);
    assertEquals(others.filter((line) => /Validation (Error|Warning)|SYNC-HAZARD/.test(line)), []);
  },
);

/** What can be spoilt in a text: a barrier goes, or two indices change places. */
const SPOILS: { name: string; found: RegExp; by: string }[] = [
  { name: "no", found: /workgroupBarrier\(\);/g, by: "" },
  { name: "swapped", found: /\b(\w+) \* (\w+) \+ (\w+)\b/g, by: "$3 * $2 + $1" },
  { name: "swapped", found: /\[([a-z]\w*)\]\[([a-z]\w*)\]/g, by: "[$2][$1]" },
];

/** The end of `sum_lanes` and `sum_rows`, which does nothing where a text calls them once. */
const AFTER_SUM = "before it is used again";

/** Whether a place of a text lies in a function that nothing calls. */
function isUncalled(code: string, place: number): boolean {
  const name = [...code.slice(0, place).matchAll(/^fn (\w+)\(/gm)].at(-1)?.[1];
  return name !== undefined && name !== "main" && code.split(`${name}(`).length === 2;
}

/** Lists the ways to spoil a text at one place, in its code alone. */
function listMutants(code: string) {
  const lines = code.split("\n");
  const sums = code.split(/sum_(?:lanes|rows)\(/).length - 2;
  return SPOILS.flatMap(({ name, found, by }) =>
    [...code.matchAll(found)].flatMap((match) => {
      const text = match[0].replace(new RegExp(found.source), by);
      const end = match.index + match[0].length;
      const before = code.slice(0, match.index).split("\n");
      const line = before.length;
      const isComment = before.at(-1)!.includes("//");
      const isIdle = sums === 1 && lines[line - 1].includes(AFTER_SUM);
      if (text === match[0] || isComment || isIdle || isUncalled(code, match.index)) return [];
      const mutant = code.slice(0, match.index) + text + code.slice(end);
      return [{ mutant, what: `${name} ${match[0]} in line ${line}` }];
    })
  );
}

Deno.test("a barrier that goes, or indices that change places, change bits in one order of lanes or the other", async () => {
  const labels = new Map<string, string>();
  const works = new Map<string, Work[]>();
  for (const work of WORKS) {
    for (const code of (await rightOf(work)).codes) {
      works.getOrInsertComputed(code, () => []).push(work);
      labels.set(code, /^\/\/ (\w+)/.exec(code)?.[1] ?? "a text");
    }
  }
  const all = [...works].flatMap(([code, users]) =>
    listMutants(code).map((mutant) => ({ ...mutant, code, users }))
  );
  const order = all.map((mutant, i) => ({ mutant, at: uniform(SEED, "mutants", i) }))
    .sort((a, b) => a.at - b.at);
  const chosen = order.slice(0, MUTANTS).map(({ mutant }) => mutant);
  const left: string[] = [];
  for (const { mutant, what, code, users } of chosen) {
    const spoil: Rewrite = (text) => text === code ? mutant : text;
    const isSeen = async (work: Work, rewrite: Rewrite) => {
      try {
        const { bits } = await rightOf(work);
        return await work.run(deviceWith(work.variants, rewrite)) !== bits;
      } catch (error) {
        if (!(error instanceof DeviceError) || error.failure !== "validation") throw error;
        base = await openGpu({ variants: WORKGROUP });
        return true; // the compiler found it
      }
    };
    let found = false;
    for (const work of users) {
      found ||= await isSeen(work, spoil) || await isSeen(work, (text) => mirrored(spoil(text)));
    }
    if (!found) left.push(`${labels.get(code)}, ${what}`);
  }
  const share = 1 - left.length / chosen.length;
  console.log(
    [`${chosen.length - left.length} of ${chosen.length} of ${all.length} found`, ...left].join(
      "\n",
    ),
  );
  assert(share >= LEAST_FOUND, left.join("\n"));
});
