/** The shapes of a configuration's models. */

import type { Configuration } from "../settings/configuration.ts";
import type { ModelConfig } from "./shape.ts";

/** Gives the shapes of routers and experts; the vocabulary is as large as was asked for, a tokenizer's own may be smaller. */
export function modelShapes(c: Configuration): { router: ModelConfig; expert: ModelConfig } {
  const { vocabularySize: vocabulary, sequenceLength: context } = c;
  return {
    router: { vocabulary, hidden: c.routerHidden, layers: c.routerLayers, heads: c.routerHeads, context },
    expert: { vocabulary, hidden: c.expertHidden, layers: c.expertLayers, heads: c.expertHeads, context },
  };
}
