/**
 * A tokenizer of characters, models that know how often each comes and nothing else, and mixtures
 * of them. Also the requests that the LM Evaluation Harness makes of documents in each data set's
 * own fields (fixtures/golden/README.md).
 */

import type { Gpu } from "../../../../kernels/device/gpu.ts";
import type { ModelConfig } from "../../../../pipeline/model/shape.ts";
import { type ParameterSpec, parameterSpecs } from "../../../../pipeline/model/shape.ts";
import type { Weights } from "../../../../pipeline/model/parameters.ts";
import { createPartitioner } from "../../../../pipeline/partition/em/partitioner.ts";
import { Mixture } from "../../../../pipeline/serving/mixture.ts";
import type { Tokenizer } from "../../../../pipeline/text/tokenizer.ts";
import { LETTERS } from "../../text/support.ts";

const NAME = "characters";

/** Every character of ASCII is a token; 0 is EOS. */
export const CHARACTERS: Tokenizer = { ...LETTERS, vocabulary: 128, sha256: NAME };

/** Shape of the models here. */
export const UNIGRAM: ModelConfig = {
  vocabulary: 128,
  hidden: 4,
  layers: 1,
  heads: 1,
  context: 40,
};

/**
 * Makes a model by hand that gives each character a logit of its own wherever it stands: all
 * weights are zero but the first column of the embedding, which holds the logits, and the last
 * bias, which takes that column.
 */
export function unigram(logits: Record<string, number>, config = UNIGRAM): Weights {
  const weightValues = ({ name, shape: [rows, columns = 1] }: ParameterSpec) => {
    const values = new Float32Array(rows * columns);
    if (name === "gpt_neox.embed_in.weight") {
      for (const [character, logit] of Object.entries(logits)) {
        values[character.charCodeAt(0) * columns] = logit;
      }
    }
    if (name === "gpt_neox.final_layer_norm.bias") values[0] = 1;
    return values;
  };
  return new Map(parameterSpecs(config).map((spec) => [spec.name, weightValues(spec)]));
}

/** Log-probability of every character of a text under such a model, added up in f64. */
export function unigramLikelihood(logits: Record<string, number>, text: string): number {
  const known = Object.values(logits).reduce((sum, logit) => sum + Math.exp(logit), 0);
  const total = Math.log(known + UNIGRAM.vocabulary - Object.keys(logits).length);
  return Array.from(text).reduce((sum, character) => sum + (logits[character] ?? 0) - total, 0);
}

/**
 * A mixture of models in memory, with routers of the same kind, and room for one model unless
 * `room` says more.
 */
export function mixtureOf(
  gpu: Gpu,
  routers: readonly Weights[],
  models: Record<string | number, Weights>,
  { config = UNIGRAM, room = 1 }: { config?: ModelConfig; room?: number } = {},
): Mixture {
  const notes = { tokenizer: NAME, eos: 0 };
  const load = (name: string | number) =>
    Promise.resolve({ config, notes, sha256: "", weights: models[name] });
  const own = {
    config: UNIGRAM,
    models: [...routers],
    notes: { ...notes, prefix: 8 },
    sha256: "routers",
  };
  return new Mixture({
    experts: routers.length,
    name: (model) => typeof model === "number" ? `expert ${model}` : model,
    partitioner: (device) => Promise.resolve(createPartitioner(own, device)),
    tokenizer: () => Promise.resolve(CHARACTERS),
    describe: load,
    load,
  }, { gpu, models: room });
}

/** A document, and what the harness makes of it. */
export interface GoldenRequest {
  doc: Record<string, unknown>;
  context: string;
  continuations: string[];
  normalise_by_characters?: number[];
  gold: number;
}

/** Requests by task. */
export const GOLDEN: Record<string, GoldenRequest[]> = JSON.parse(
  Deno.readTextFileSync(
    new URL("../../../../fixtures/golden/zero_shot/requests.json", import.meta.url),
  ),
);
