// Golden values of Llama's shape: grouped queries, an untied head, heads wider than H / heads.

import { assertEquals } from "@std/assert";
import { openGpu } from "../../../kernels/device/gpu.ts";
import { createDecoder } from "../../../pipeline/model/decoder.ts";
import { createScorer } from "../../../pipeline/model/scorer.ts";
import { createTrainer } from "../../../pipeline/model/trainer.ts";
import type { Weights } from "../../../pipeline/model/parameters.ts";
import { loadCheckpoint } from "../../../pipeline/model/checkpoints/checkpoint.ts";
import { decodeSafetensors } from "../../../pipeline/model/checkpoints/safetensors.ts";
import { assertClose, KERNEL_VARIANTS, type Tolerances } from "./golden.ts";
import { assertClose as assertAllClose } from "../../kernels/support.ts";
import { edges } from "../../kernels/random_shapes.ts";
import { assertTensors } from "./support.ts";

const FOLDER = new URL("../../../fixtures/golden/llama", import.meta.url).pathname;

interface Expected {
  prefix: number;
  tokens: number[][];
  lengths: number[];
  loss: number;
  nll: number[];
  prefix_nll: number[];
  logits_of_sequence_0: number[][];
  adamw: {
    betas: [number, number];
    eps: number;
    weight_decay: number;
    clip: number;
    lr: number[];
    loss_before_step: number[];
    grad_norm: number[];
  };
}

async function load(name: string) {
  const folder = `${FOLDER}/${name}`;
  const tensors = (file: string): Weights => {
    const path = `${folder}/${file}`;
    const all = decodeSafetensors(Deno.readFileSync(path), path);
    return new Map([...all].map(([name, { values }]) => [name, values]));
  };
  const text = await Deno.readTextFile(`${folder}/expected.json`);
  return { ...await loadCheckpoint(folder), expected: JSON.parse(text) as Expected, tensors };
}

const GENERAL = {
  matmul: "registers",
  attention: "query",
  rows: "invocation",
  loss: "chunks",
} as const;

/** How far these models may be, where it is not as far as GPT-NeoX's. */
interface LlamaTolerances extends Omit<Tolerances, "biases"> {
  /** Gradient norms after the first step. */
  laterNorms: number;
  /** Gradients of gains of norms. */
  gains: number;
  /** Logits, relative to the largest one. */
  logits: number;
}

/** f32 arithmetic against f64. */
const SINGLE: LlamaTolerances = {
  loss: 1e-5,
  norm: 1e-4,
  laterNorms: 1e-4,
  gradients: 1e-4,
  gains: 1e-4,
  weights: 1e-4,
  logits: 1e-5,
};

/**
 * Rounded values. These models learn three times as fast as the golden ones of GPT-NeoX, so
 * roundings grow from step to step. f32 training from weights with noise of half a rounding to bf16
 * is off by 2e-3 in the first norm and by 7e-3 in a later one. Measured, the worst later norm:
 * 2.1e-2 in bf16 and 3.3e-3 in f16.
 */
const rounded = ({ norm, ...others }: Tolerances): Omit<LlamaTolerances, "gains" | "logits"> => {
  return { ...others, norm, laterNorms: 10 * norm };
};

/**
 * Measured, the worst of all models: a gradient 1.7e-2, a weight 9.8e-3, and a gain 2.3e-2: one of
 * the model of three layers. In f32 it is off by 2.1e-2 if the weights alone are rounded to bf16.
 */
const ofBf16 = (tolerances: Tolerances): LlamaTolerances => {
  return { ...rounded(tolerances), gains: 1.25 * tolerances.gradients, logits: 1.5e-2 };
};

/** Measured, the worst of all models: a gradient 2.7e-3, a gain 3.3e-3, a weight 2.3e-3. */
const ofF16 = (tolerances: Tolerances): LlamaTolerances => {
  const { gradients, weights } = tolerances;
  return {
    ...rounded(tolerances),
    gradients: 1.5 * gradients,
    gains: 2 * gradients,
    weights: 1.5 * weights,
    logits: 2.5e-3,
  };
};

const variants = [
  ...KERNEL_VARIANTS.map((variant) => {
    const { dtype, tolerances } = variant;
    const isSingle = tolerances === KERNEL_VARIANTS[0].tolerances;
    const roundedTolerances = dtype === "bf16" ? ofBf16(tolerances) : ofF16(tolerances);
    return { ...variant, tolerances: isSingle ? SINGLE : roundedTolerances };
  }),
  {
    what: ", with the general kernels",
    own: false,
    gpu: await openGpu({ variants: GENERAL }),
    dtype: "f32" as const,
    tolerances: SINGLE,
  },
];

/**
 * Lists the models that a variant computes: all, or one where a driver of processors takes half a
 * minute to compile the texts of each; `SMALLTALK_EDGES=all` wants these too.
 */
function listModels(what: string): readonly string[] {
  if (what === ", with the kernels for GPUs") return ["grouped", ...edges([], ["untied", "wide"])];
  if (what === ", without logits") return ["wide", ...edges([], ["grouped", "untied"])];
  return ["grouped", "untied", "wide"];
}

for (const { what, gpu, dtype, tolerances } of variants) {
  for (const name of listModels(what)) {
    const { config, weights: start, expected, tensors } = await load(name);
    const { tokens: rows, lengths: reals, adamw } = expected;
    const [batch, length] = [rows.length, config.context];
    const tokens = Uint32Array.from(rows.flat());
    const lengths = Uint32Array.from(reals);

    Deno.test(`createScorer() gives the golden NLLs of Llama's ${name} in ${dtype}${what}`, async () => {
      const sums = [[expected.nll, length], [expected.prefix_nll, expected.prefix]] as const;
      for (const [values, prefix] of sums) {
        const options = { config, models: [start], batch: 2, length: prefix, dtype };
        const scorer = createScorer(gpu, options);
        const nll = await scorer.score(tokens, length, lengths);
        values.forEach((value, i) => assertClose(nll[i], value, tolerances.loss, `nll ${i}`));
        scorer.close();
      }
    });

    Deno.test(`createDecoder() gives the golden logits of Llama's ${name} in ${dtype}${what}`, async () => {
      const decoder = createDecoder(gpu, { config, weights: start, capacity: length, dtype });
      const largest = Math.max(...expected.logits_of_sequence_0.flat().map(Math.abs));
      const tolerance = { atol: tolerances.logits * largest, rtol: tolerances.logits };
      for (const [i, logits] of expected.logits_of_sequence_0.slice(0, reals[0]).entries()) {
        const [actual] = await decoder.read([{ slot: 0, tokens: [rows[0][i]] }]);
        assertAllClose(actual, logits, tolerance, `logits at ${i}`);
      }
      decoder.close();
    });

    Deno.test(`createTrainer() gives the golden loss, gradients and weights of Llama's ${name} in ${dtype}${what}`, async () => {
      // Model 1 is a second model 0: both must agree.
      const models = [start, start];
      const { betas: [beta1, beta2], eps: epsilon, weight_decay: weightDecay, clip } = adamw;
      const settings = { beta1, beta2, epsilon, weightDecay, clip };
      const trainer = createTrainer(gpu, { config, start: models, batch, length, dtype, settings });
      const twice = (values: Uint32Array) => Uint32Array.from([...values, ...values]);
      for (const [i, rate] of adamw.lr.entries()) {
        trainer.step({ tokens: twice(tokens), lengths: twice(lengths) }, rate);
        if (i > 0) continue;
        const [gradients] = await trainer.gradients();
        assertTensors(
          gradients,
          tensors("grads.safetensors"),
          (name) => name.endsWith("norm.weight") ? tolerances.gains : tolerances.gradients,
        );
      }
      for (const [i, { loss, norm }] of (await trainer.drain()).entries()) {
        assertClose(loss[0], adamw.loss_before_step[i], tolerances.loss, `loss ${i}`);
        const most = i === 0 ? tolerances.norm : tolerances.laterNorms;
        assertClose(norm[0], adamw.grad_norm[i], most, `norm ${i}`);
        assertEquals(loss[1], loss[0]);
      }
      const [weights, twin] = await trainer.weights();
      const after = tensors("model-after-5-steps.safetensors");
      assertTensors(weights, after, tolerances.weights);
      assertEquals(twin, weights);
      trainer.close();
    });
  }
}
