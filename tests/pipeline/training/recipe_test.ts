import { assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { saveCheckpoint } from "../../../pipeline/model/checkpoints/checkpoint.ts";
import { initialWeights } from "../../../pipeline/model/parameters.ts";
import type { ModelConfig } from "../../../pipeline/model/shape.ts";
import {
  type Configuration,
  defaultConfiguration,
} from "../../../pipeline/settings/configuration.ts";
import { gatherRecipe, startWeights } from "../../../pipeline/training/recipe.ts";
import { inFolder } from "../../tasks/support.ts";

const MODEL: ModelConfig = { vocabulary: 5, hidden: 4, layers: 1, heads: 1, context: 8 };
const ROLE = { batch: 8, microBatch: 4, steps: 100, rate: 0.01, warmup: 10 };
const SETTINGS = defaultConfiguration();

Deno.test("gatherRecipe() changes with every setting that weights or metrics depend on, with no other, and reports f32 of none", () => {
  const text = JSON.stringify(gatherRecipe(SETTINGS, MODEL, ROLE));
  const heeded: Partial<Configuration> = {
    clip: 2,
    beta1: 0.5,
    beta2: 0.5,
    epsilon: 1,
    weightDecay: 0,
    seed: 9,
    expertFinalRate: 0.5,
    logEvery: 3,
    validateEvery: 3,
    validationSequences: 3,
    dtype: "bf16",
  };
  // F32: keys of before there was a choice.
  const same = { experts: 99, prefix: 3, routerRate: 0.5, chunk: 8, dtype: "f32" };
  for (const [name, value] of [...Object.entries(heeded), ...Object.entries(same)]) {
    const other = JSON.stringify(gatherRecipe({ ...SETTINGS, [name]: value }, MODEL, ROLE));
    assertEquals(other === text, same[name as keyof typeof same] === value, name);
  }
});

Deno.test("startWeights() reads a checkpoint of the same shape and tokenizer, and refuses another", () =>
  inFolder(async (folder) => {
    const where = `${folder}/model`;
    const weights = initialWeights(MODEL, 7);
    await saveCheckpoint(where, MODEL, weights, { tokenizer: "ab" });
    const settings = { ...SETTINGS, init: where };
    const start = await startWeights(settings, MODEL, "ab");
    assertEquals(start(), weights);
    const refused = (model: ModelConfig, tokenizer: string, message: string) =>
      assertRejects(() => startWeights(settings, model, tokenizer), InputError, message);
    await refused(
      { ...MODEL, layers: 2 },
      "ab",
      "layers must be that of the model to train: there it is 1, here it is 2",
    );
    const experts = (experts: number, capacity = 1): ModelConfig => ({
      ...MODEL,
      sublayers: ["attention", "switch"],
      switch: { experts, capacity, balance: 0.01 },
    });
    const layers = (there: string, here: string) =>
      `sublayers must be that of the model to train: there it is ${there}, here it is ${here}; name`;
    await refused(experts(2), "ab", layers("attention, mlp", "attention, switch"));
    const model = experts(2);
    await saveCheckpoint(where, model, initialWeights(model, 7), { tokenizer: "ab" });
    await refused(MODEL, "ab", layers("attention, switch", "attention, mlp"));
    await refused(
      experts(4),
      "ab",
      "experts of a layer must be that of the model to train: there it is 2, here it is 4; name",
    );
    assertEquals((await startWeights(settings, experts(2, 1.5), "ab"))(), initialWeights(model, 7));
    await saveCheckpoint(where, MODEL, weights, { tokenizer: "ab" });
    await refused(MODEL, "cd", "tokenizer must be the run's: SHA-256 is ab there, cd here");
  }));
