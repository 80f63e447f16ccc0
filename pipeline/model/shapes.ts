/** The shapes of the models of a configuration. */

import type { Configuration } from "../settings/configuration.ts";
import { type ModelConfig, parameterCount } from "./shape.ts";
import { attention } from "./sublayers/attention.ts";
import { switchMlp } from "./sublayers/switch.ts";

/**
 * Gives the shapes of routers and experts. The vocabulary is as large as the settings say; that of the
 * tokenizer may be smaller.
 */
export function modelShapes(configuration: Configuration): { router: ModelConfig; expert: ModelConfig } {
  const { routerHidden, routerLayers, routerHeads, expertHidden, expertLayers, expertHeads } = configuration;
  const common = { vocabulary: configuration.vocabularySize, context: configuration.sequenceLength };
  return {
    router: { ...common, hidden: routerHidden, layers: routerLayers, heads: routerHeads },
    expert: { ...common, hidden: expertHidden, layers: expertLayers, heads: expertHeads },
  };
}

/** Gives the shape of the Switch Transformer: that of an expert, with experts of its own in every layer. */
export function switchShape(configuration: Configuration): ModelConfig {
  return {
    ...modelShapes(configuration).expert,
    sublayers: [attention.name, switchMlp.name],
    switch: {
      experts: configuration.switchExperts || configuration.experts,
      capacity: configuration.switchCapacity,
      balance: configuration.switchBalance,
    },
  };
}

/**
 * About how many times the parameters of an expert the larger dense model has; the paper's has 3.8 times as
 * many.
 */
const TIMES = 4;
/** From so many times on, the larger dense model keeps the number of layers of an expert. */
const ENOUGH = 3.6;

/**
 * Gives the shape of the larger dense model, as the settings say. By default it is twice as wide as the
 * expert, with as many heads and layers. So is the paper's 1.3B next to its 335M (table 3). In a small expert
 * the embedding is a large part, so that this makes less than 3.6 times its parameters; then the number of
 * layers is that which comes nearest to four times.
 */
export function largerDenseShape(configuration: Configuration): ModelConfig {
  const { expert } = modelShapes(configuration);
  const wide = {
    ...expert,
    hidden: configuration.denseHidden || 2 * expert.hidden,
    heads: configuration.denseHeads || expert.heads,
  };
  if (configuration.denseLayers > 0) return { ...wide, layers: configuration.denseLayers };
  const ratio = (layers: number) => parameterCount({ ...wide, layers }) / parameterCount(expert);
  if (ratio(expert.layers) >= ENOUGH) return wide;
  const perLayer = ratio(2) - ratio(1);
  const more = Math.round((TIMES - ratio(expert.layers)) / perLayer);
  return { ...wide, layers: expert.layers + Math.max(0, more) };
}
