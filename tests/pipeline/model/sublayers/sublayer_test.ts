import { assert, assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../../../kernels/errors.ts";
import { forwardFlops } from "../../../../pipeline/cost/flops.ts";
import { inferenceMemory, trainingMemory } from "../../../../pipeline/cost/memory.ts";
import { createDecoder } from "../../../../pipeline/model/decoder.ts";
import { createScorer } from "../../../../pipeline/model/scorer.ts";
import {
  chooseSublayers,
  listSublayers,
  type ModelConfig,
  parameterCount,
  parameterSpecs,
  SUBLAYERS,
} from "../../../../pipeline/model/shape.ts";
import { mlp } from "../../../../pipeline/model/sublayers/mlp.ts";
import { assertClose, gpu } from "../../../kernels/support.ts";
import { BRANCHES, logitsReference, sequenceNll } from "../reference.ts";
import { anyBatch, anyWeights, sequencesOf } from "../support.ts";

/** A sublayer of a test: a second MLP, whose weights have names of their own. */
const own = (name: string) => name.replace(/^mlp\.|^post/, "second.$&");
SUBLAYERS.set("second", {
  ...mlp,
  name: "second",
  parameters: (config, prefix) =>
    mlp.parameters(config, "").map((spec) => ({
      ...spec,
      name: `${prefix}.${own(spec.name.slice(1))}`,
    })),
  forward: (pass) => mlp.forward({ ...pass, parameter: (name) => pass.parameter(own(name)) }),
  backward: (pass) => mlp.backward({ ...pass, parameter: (name) => pass.parameter(own(name)) }),
});
BRANCHES.second = (stream, layer) =>
  BRANCHES.mlp(stream, {
    ...layer,
    norm: (name, x) => layer.norm(own(name), x),
    linear: (name, x) => layer.linear(own(name), x),
  });

const PLAIN: ModelConfig = { vocabulary: 11, hidden: 6, layers: 2, heads: 1, context: 9 };
const CONFIG: ModelConfig = { ...PLAIN, sublayers: ["attention", "second", "mlp"] };

Deno.test("chooseSublayers() and listSublayers() give attention and MLP unless others are named, and refuse what there is not", () => {
  assertEquals(chooseSublayers(PLAIN).map(({ name }) => name), ["attention", "mlp"]);
  assertEquals(
    listSublayers(CONFIG).map(({ sublayer, layer, scope }) => `${layer} ${scope} ${sublayer.name}`),
    [0, 1].flatMap((i) => CONFIG.sublayers!.map((name) => `${i} gpt_neox.layers.${i} ${name}`)),
  );
  const message =
    'must be some of attention, mlp, switch, grouped-attention, gated-mlp, second: one is "none"';
  assertThrows(
    () => chooseSublayers({ ...PLAIN, sublayers: ["mlp", "none"] }),
    InputError,
    message,
  );
});

Deno.test("a sublayer of a test scores and decodes as an independent f64 model", async () => {
  const models = [0, 1].map((i) => anyWeights(CONFIG, i));
  const { tokens, lengths } = anyBatch(CONFIG, { models: 1, batch: 4, length: 9 });
  const scorer = createScorer(gpu, { config: CONFIG, models, batch: 2, length: 9 });
  const nll = await scorer.score(tokens, 9, lengths);
  scorer.close();
  const expected = sequencesOf({ tokens, lengths }).flatMap((sequence) =>
    models.map((weights) => sequence.length > 1 ? sequenceNll(CONFIG, weights, sequence) : 0)
  );
  assertClose(nll, expected, { atol: 2e-4, rtol: 1e-4 }, "NLL");
  const decoder = createDecoder(gpu, { config: CONFIG, weights: models[0], capacity: 9 });
  const text = [...tokens.subarray(27, 36)];
  const logits = logitsReference(CONFIG, models[0], text);
  for (const [begin, end] of [[0, 5], [5, 6], [6, 9]]) {
    const [actual] = await decoder.read([{ slot: 0, tokens: text.slice(begin, end) }]);
    assertClose(actual, logits[end - 1], { atol: 1e-4, rtol: 1e-4 }, `logits after ${end} tokens`);
  }
  decoder.close();
});

Deno.test("names on disk, weights, FLOPs and memory follow from the list of sublayers", () => {
  const { hidden, layers } = PLAIN;
  const names = (config: ModelConfig) => parameterSpecs(config).map(({ name }) => name);
  const added = names(CONFIG).filter((name) => name.includes(".second."));
  assertEquals(names(CONFIG).filter((name) => !added.includes(name)), names(PLAIN));
  assertEquals(added.length, 6 * layers);
  const weights = layers * (8 * hidden ** 2 + 7 * hidden);
  assertEquals(parameterCount(CONFIG) - parameterCount(PLAIN), weights);
  assertEquals(
    forwardFlops(CONFIG, 3, 5) - forwardFlops(PLAIN, 3, 5),
    layers * 16 * 15 * hidden ** 2,
  );
  const [training, less] = [CONFIG, PLAIN].map((model) =>
    trainingMemory(model, { batch: 4, length: 9 })
  );
  // Weights, gradients and moments, and activations.
  assert(training.total - less.total > 4 * 4 * weights);
  const [scoring, plain] = [CONFIG, PLAIN].map((model) => inferenceMemory(model, { capacity: 9 }));
  assert(scoring.weights > plain.weights);
  assertEquals(scoring.cache, plain.cache);
});
