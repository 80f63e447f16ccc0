/** This project in the comparison of peers.ts. */

import { openGpu } from "../../../kernels/gpu.ts";
import { initialWeights, type Weights } from "../../../pipeline/model/parameters.ts";
import { createScorer } from "../../../pipeline/model/scorer.ts";
import { createTrainer } from "../../../pipeline/training/trainer.ts";
import { batchOf, RATE, SCORE_BATCH, scoreTokens, serve, SETTINGS } from "./task.ts";

const BANK = { vocabulary: 512, hidden: 32, layers: 2, heads: 4, context: 64 };
const BANK_MODELS = 8;
const BANK_BATCH = 16;
const BANK_ROWS = 512;

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

  /** Time of `run` per model group: one bank of all models, or each model alone. */
  async function bank(together: boolean, steps: number) {
    const models = Array.from(
      { length: BANK_MODELS },
      (_, seed) => initialWeights(BANK, seed),
    );
    const groups: Weights[][] = together ? [models] : models.map((model) => [model]);
    const total = { train: 0, score: 0 };
    for (const group of groups) {
      const count = group.length * BANK_BATCH;
      const trainer = createTrainer(gpu, {
        config: BANK,
        start: group,
        batch: BANK_BATCH,
        length: BANK.context,
        settings: SETTINGS,
      });
      const scorer = createScorer(gpu, {
        config: BANK,
        models: group,
        batch: 64,
        length: BANK.context,
      });
      const tokens = scoreTokens(
        { ...BANK, batch: 1 },
        BANK.context,
        Math.max(count, BANK_ROWS),
      );
      const lengths = new Uint32Array(count).fill(BANK.context);
      const rows = new Uint32Array(BANK_ROWS).fill(BANK.context);
      const train = async (steps: number) => {
        const own = tokens.subarray(0, count * BANK.context);
        for (let i = 0; i < steps; i++) {
          trainer.step({ tokens: own, lengths }, RATE);
        }
        await trainer.drain();
      };
      const score = () =>
        scorer.score(
          tokens.subarray(0, BANK_ROWS * BANK.context),
          BANK.context,
          rows,
        );
      await train(1);
      await score();
      let begin = performance.now();
      await train(steps);
      total.train += (performance.now() - begin) / 1000;
      begin = performance.now();
      await score();
      total.score += (performance.now() - begin) / 1000;
      trainer.close();
      scorer.close();
    }
    return total;
  }

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
    bank,
    close() {
      trainer.close();
      gpu.close();
    },
  };
});
