/**
 * Evaluates the mixture of a run on its held-out sequences: a node for the scores of every model, and one that puts them together.
 *
 *     evaluation/expert-02/   nll.f32: the NLL of every held-out sequence, f32, little endian, nats
 *     evaluation/result/      evaluation.json, evaluation.arrow
 *
 * @module
 */

import type { Text } from "../../kernels/errors.ts";
import type { Baseline } from "../evaluation/baselines.ts";
import { RESAMPLES } from "../evaluation/bootstrap.ts";
import type { EvaluationChoices } from "../evaluation/evaluate.ts";
import { EVALUATION_FORMAT } from "../evaluation/evaluation.ts";
import {
  ALL_TEST,
  EVALUATION,
  givenNode,
  type Node,
  oneByOne,
  PARTITIONER,
  SEQUENCES,
  TOKENIZER,
} from "../graph/node.ts";
import { namedRouters } from "../partition/partitioners.ts";
import type { ModelName } from "../serving/models.ts";
import type { Configuration } from "../settings/configuration.ts";
import type { Target } from "./targets.ts";

/** Name of the stage. */
export const EVALUATE = "evaluate";

export { EVALUATION };
/** Files of the result. */
export const [RESULT, DOCUMENTS] = ["evaluation.json", "evaluation.arrow"];

/** The models of a run, and what they are asked of. */
export interface EvaluationOf {
  configuration: Configuration;
  /** Names of the nodes of all blocks' tokens, in order. */
  tokens: readonly string[];
  /** The models that are trained. */
  models: readonly Target[];
  /** What is reported of them where they are evaluated together. */
  doubts?: readonly Text[];
}

/** Names a model as the mixture does. */
export const modelName = ({ expert, name }: Target): ModelName => expert ?? name;
/** Names the node of a model's scores. */
export const scoresNode = ({ name }: Pick<Target, "name">) => `evaluation/${name}`;
/** Names those of the models that the mixture is compared with. */
export const listBaselines = (models: readonly Target[]): Baseline[] =>
  models.flatMap(({ expert, name }) => expert === undefined ? name as Baseline : []);

/**
 * What asks the models of a run something, also of its `text`: the nodes that must be there, needs and settings by which prompts are
 * routed, and the weights.
 */
export async function gatherAsked({ configuration, tokens, models }: EvaluationOf, text = true) {
  const partitioner = configuration.routers === "" ? [PARTITIONER] : [];
  const read = [TOKENIZER, ...text ? [SEQUENCES, ...tokens] : [], ...partitioner];
  const given = [...read, ...models.map(({ node }) => node)].map(givenNode);
  const weights = models.map(({ node }) => `${node}:model.safetensors`);
  return { given, partitioner, weights, routers: await namedRouters(configuration) };
}

/** Makes the nodes of an evaluation, after the nodes that it is given. */
export async function evaluateNodes(of: EvaluationOf, choices: EvaluationChoices = {}): Promise<Node[]> {
  const { configuration: { prefix, seed }, models } = of;
  const { given, partitioner, weights, routers } = await gatherAsked(of);
  const makeMaker = (what: "scoreNode" | "evaluateNode") =>
    oneByOne(
      EVALUATE,
      async (making, work) => await (await import("./evaluation.ts"))[what](making, work, of, choices),
    );
  const scorer = makeMaker("scoreNode"); // another adapter rounds differently, but whoever scored first is believed
  const { resamples = RESAMPLES, ...several } = choices;
  const passes = choices.mix?.length ? models.filter(({ expert }) => expert === undefined) : models; // mixes need single tokens
  return [
    ...given,
    ...passes.map((model): Node => ({
      name: scoresNode(model),
      needs: [ALL_TEST, `${model.node}:model.safetensors`, `${model.node}:config.json`, TOKENIZER],
      settings: {},
      revision: 1,
      maker: scorer,
    })),
    {
      name: EVALUATION,
      needs: [ALL_TEST, ...partitioner, ...passes.map(scoresNode), ...weights],
      settings: { format: EVALUATION_FORMAT, prefix, seed, resamples, ...routers, ...several },
      links: { [RESULT]: RESULT, [DOCUMENTS]: DOCUMENTS },
      revision: 3,
      maker: makeMaker("evaluateNode"),
    },
  ];
}
