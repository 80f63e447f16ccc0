/**
 * What the stages of a partition take: time, disk and memory.
 *
 * @module
 */

import {
  roundFlops,
  routerActivations,
  scoreBytes,
  SEQUENCES_PER_SECOND,
  tokenBytes,
  TOKENIZED_CHARACTERS_PER_SECOND,
} from "../cost/cluster.ts";
import { forwardFlops, slowedFlops } from "../cost/flops.ts";
import { parameterCount } from "../model/shape.ts";
import { modelShapes } from "../model/shapes.ts";
import { hasRouters, kindOf } from "../partition/partitioners.ts";
import type { Configuration } from "../settings/configuration.ts";
import type { CorpusSize, Estimate, Speed, Stage } from "./stage.ts";
import { STAGES } from "./stages.ts";

const CHUNK = 65_536; // sequences that are assigned together
const READ_PER_SECOND = 50e6; // bytes of text
const DIMENSIONS = 100; // of an embedding

/** How each stage of the project's own is estimated; a script's own says it itself. */
const ESTIMATES: Record<string, NonNullable<Stage["estimate"]>> = {
  corpus: ({ input }, { characters }) => ({
    seconds: characters / READ_PER_SECOND,
    diskBytes: input.length === 0 || input.includes("-") ? characters * 1.1 : 0,
    memoryBytes: 0,
  }),
  tokenizer({ tokenizer, tokenizerSample, vocabularySize }, { characters }) {
    const sample = tokenizer ? 0 : Math.min(characters, tokenizerSample);
    return {
      seconds: sample / TOKENIZED_CHARACTERS_PER_SECOND,
      diskBytes: 60 * vocabularySize,
      memoryBytes: 20 * sample,
    };
  },
  tokenize: (c, { characters, sequences }) => ({
    seconds: characters / TOKENIZED_CHARACTERS_PER_SECOND,
    diskBytes: tokenBytes(c, sequences),
    memoryBytes: 100e6,
  }),
  "train-routers"(c, { sequences }, speed) {
    if (!kindOf(c).models) return sampleEstimate(c, sequences, speed);
    const { router } = modelShapes(c);
    const bytes = 4 * parameterCount(router) * c.experts;
    return {
      seconds: c.rounds * slowedFlops(roundFlops(c), router, speed.kind) / speed.flops,
      diskBytes: 4 * bytes,
      memoryBytes: 4 * bytes + routerActivations(c, c.routerBatch) +
        c.experts * c.roundSequences * c.sequenceLength * 4,
    };
  },
  score(c, { sequences }, { flops, kind }) {
    const diskBytes = scoreBytes(c.experts, sequences);
    if (!hasRouters(c)) return { seconds: sequences / 5_000, diskBytes, memoryBytes: 50e6 };
    const { router } = modelShapes(c);
    const work = sequences * c.experts * forwardFlops(router, 1, c.prefix);
    return {
      seconds: slowedFlops(work, router, kind) / flops,
      diskBytes,
      memoryBytes: 4 * parameterCount(router) * c.experts + routerActivations(c, c.scoreBatch || 128) / 4,
    };
  },
  assign: ({ experts, method }, { sequences }) => ({
    seconds: sequences / SEQUENCES_PER_SECOND,
    diskBytes: 24 * sequences,
    memoryBytes: 12 * experts * (method === "optimal" ? Math.max(CHUNK, sequences) : CHUNK),
  }),
  split: (c, { sequences }) => ({
    seconds: sequences / SEQUENCES_PER_SECOND,
    diskBytes: tokenBytes(c, sequences),
    memoryBytes: 32e6 + 512 * c.sequenceLength * 4,
  }),
};

/** Estimates a partitioner that learns on a sample of sequences, without a model. */
function sampleEstimate(c: Configuration, sequences: number, { flops }: Speed): Estimate {
  const tokens = Math.min(sequences, c.partitionerSample) * c.sequenceLength;
  return {
    seconds: tokens * (16 * DIMENSIONS + 80 * c.experts) / flops * 10, // of sparse products
    diskBytes: 4 * DIMENSIONS * c.vocabularySize,
    memoryBytes: 12 * tokens + 40 * DIMENSIONS * c.vocabularySize,
  };
}

/** Estimates what a stage takes; nothing where it does not say. */
export function estimateOf(stage: string, c: Configuration, size: CorpusSize, speed: Speed): Estimate {
  const estimate = STAGES.get(stage)?.estimate ?? ESTIMATES[stage];
  return estimate?.(c, size, speed) ?? { seconds: 0, diskBytes: 0, memoryBytes: 0 };
}
