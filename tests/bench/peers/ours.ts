/** This project in the comparison of peers.ts. */

import { openGpu } from "../../../kernels/device/gpu.ts";
import { initialWeights } from "../../../pipeline/model/parameters.ts";
import { createScorer } from "../../../pipeline/model/scorer.ts";
import { createTrainer } from "../../../pipeline/model/trainer.ts";
import { measureBank } from "../bank.ts";
import { batchOf, RATE, SCORE_BATCH, scoreTokens, serve, SETTINGS } from "./task.ts";

await serve(async (size) => {
  const gpu = await openGpu();
  const weights = initialWeights(size, 0);
  const trainer = createTrainer(gpu, {
    config: size,
    start: [weights],
    batch: size.batch,
    length: size.context,
    settings: SETTINGS,
  });
  const scorers = new Map<number, ReturnType<typeof createScorer>>();

  return {
    async train(first, count) {
      for (let i = 0; i < count; i++) {
        trainer.step(batchOf(size, first + i), RATE);
      }
      return (await trainer.drain()).map(({ loss }) => loss[0]);
    },
    async score(prefix, rows) {
      let scorer = scorers.get(prefix);
      if (!scorer) {
        scorer = createScorer(gpu, {
          config: size,
          models: [weights],
          batch: SCORE_BATCH,
          length: prefix,
        });
        scorers.set(prefix, scorer);
      }
      const nll = await scorer.score(
        scoreTokens(size, prefix, rows),
        prefix,
        new Uint32Array(rows).fill(prefix),
      );
      return nll.reduce((a, b) => a + b);
    },
    bank: (options) => measureBank(gpu, options),
    close() {
      trainer.close();
      gpu.close();
    },
  };
});
