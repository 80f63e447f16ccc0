/** The shapes of a configuration's models. */

import type { Configuration } from "../settings/configuration.ts";
import type { ModelConfig } from "./shape.ts";

/** Gives the shapes of routers and experts; the vocabulary is as large as was asked for, a tokenizer's own may be smaller. */
export function modelShapes(configuration: Configuration): { router: ModelConfig; expert: ModelConfig } {
  const { routerHidden, routerLayers, routerHeads, expertHidden, expertLayers, expertHeads } = configuration;
  const common = { vocabulary: configuration.vocabularySize, context: configuration.sequenceLength };
  return {
    router: { ...common, hidden: routerHidden, layers: routerLayers, heads: routerHeads },
    expert: { ...common, hidden: expertHidden, layers: expertLayers, heads: expertHeads },
  };
}
