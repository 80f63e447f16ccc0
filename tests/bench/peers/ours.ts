/** This project in the comparison of peers.ts. */

import { openGpu } from "../../../kernels/device/gpu.ts";
import { initialWeights } from "../../../pipeline/model/parameters.ts";
import { createScorer, type Scorer } from "../../../pipeline/model/scorer.ts";
import { createTrainer } from "../../../pipeline/model/trainer.ts";
import { drawBatch, RATE, SCORE_BATCH, scoreTokens, serve, SETTINGS } from "./task.ts";

await serve(async (size) => {
  const gpu = await openGpu();
  const { batch, context: length } = size;
  const models = [initialWeights(size, 0)];
  const trainer = createTrainer(gpu, {
    config: size,
    start: models,
    batch,
    length,
    settings: SETTINGS,
  });
  const scorers = new Map<number, Scorer>();
  return {
    async train(first, count) {
      for (let i = 0; i < count; i++) trainer.step(drawBatch(size, first + i), RATE);
      return (await trainer.drain()).map(({ loss }) => loss[0]);
    },
    async score(prefix, rows) {
      const options = { config: size, models, batch: SCORE_BATCH, length: prefix };
      const scorer = scorers.get(prefix) ?? createScorer(gpu, options);
      scorers.set(prefix, scorer);
      const lengths = new Uint32Array(rows).fill(prefix);
      const nll = await scorer.score(scoreTokens(size, prefix, rows), prefix, lengths);
      return nll.reduce((a, b) => a + b);
    },
    close() {
      trainer.close();
      gpu.close();
    },
  };
});
