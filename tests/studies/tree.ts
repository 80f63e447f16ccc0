/**
 * Compares trees of routers with flat ones on all embedded text, and each with the dense model of E
 * times the batch: perplexities with their intervals at prefixes of 8 to 64 tokens, NMI, loads,
 * router FLOPs in training and per prompt, and times. Takes hours; what is made is not made again,
 * so it may be stopped.
 *
 *   deno run -A tests/studies/tree.ts FOLDER [SEEDS] [FLAT TREE…]      2 seeds, 16 against 4x4, unless said
 *
 * Two passes over 48,890 sequences are some 380 steps of an expert at E = 16: a fourth of what the
 * study of experts has at E = 4.
 */

import { evaluateRun, partition, readCost, trainDense, trainExpert } from "../../mod.ts";
import type { Configuration } from "../../pipeline/settings/configuration.ts";
import { withLevels } from "../../pipeline/settings/partitioner.ts";

const [folder, seeds = "2", ...named] = Deno.args;
const [PREFIXES, BEAMS] = [[8, 16, 32, 64], [1, 2]];
const kinds = named.length > 0 ? named : ["16", "4x4"];
const SETTINGS = { corpusCharacters: 11_000_000, expertEpochs: 2 };

for (let seed = 0; seed < Number(seeds); seed++) {
  for (const experts of kinds) {
    const run = `${folder}/${experts}-${seed}`;
    const number = experts.includes("x") ? { experts } : { experts: Number(experts) };
    const flags = withLevels({ ...SETTINGS, ...number, seed }) as Partial<Configuration>;
    const sources = { preset: "small", flags };
    const from = performance.now();
    const { nmi, experts: parts, tokenImbalance } = await partition({ run, sources });
    const partitioned = performance.now();
    for (const { expert } of parts) await trainExpert(expert, { run });
    await trainDense("batch", { run, reuse: [`${folder}/${kinds[0]}-${seed}`] }); // the same text: the same model
    const trained = performance.now();
    const loads = parts.map(({ sequences }) => sequences);
    const { flops } = await readCost({ run, sources: {}, flops: 1e11, utilisation: 0.4 });
    const line = {
      experts,
      seed,
      nmi,
      tokenImbalance,
      loads: [Math.min(...loads), Math.max(...loads)],
      routerFlops: flops.trainRouters + flops.shardForRouters,
      shardFlops: flops.shardForExperts,
      promptFlops: flops.inferenceOverhead,
      partitionSeconds: (partitioned - from) / 1000,
      trainingSeconds: (trained - partitioned) / 1000,
    };
    for (const beam of number.experts === experts ? BEAMS : [1]) {
      const { prefixes, gains } = await evaluateRun({ run, beam: beam === 1 ? undefined : beam });
      const at = prefixes.filter(({ prefix }) => PREFIXES.includes(prefix))
        .map(({ prefix, perplexity, low, high }) => ({ prefix, perplexity, low, high }));
      console.log(JSON.stringify({ ...line, beam, prefixes: at, gains }));
    }
  }
}
