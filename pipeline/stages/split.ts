/**
 * The stage `split` writes one folder of shards per expert: the end of a partition.
 *
 * @module
 */

import { split as splitRows } from "../partition/split.ts";
import { readShards } from "../rows/arrow.ts";
import { joinScores } from "../rows/join.ts";
import { type Manifest, outputsHash, outputsUnder } from "../run/manifest.ts";
import { SEQUENCES_PER_SECOND } from "./assign.ts";
import { splitPrefix } from "./learn.ts";
import { scoreBytes } from "./score.ts";
import { oneStage, type Stage } from "./stage.ts";
import { tokenBytes, tokenizeResult } from "./tokenize.ts";
import { verifySplit } from "./verify_split.ts";
import { checkRows, watchRows } from "./watch.ts";

const stage: Stage = {
  name: "split",
  about: "Writes one folder of shards per expert.",
  needs: ["tokenize", "score", "assign"],
  settings: ["shardSequences"],
  revision: 1,
  outputs: ["partition/"],
  makes: /^partition\/(manifest\.json|expert-\d{2,}\/(manifest\.json|(train|test)-\d{5,}\.arrow))$/,
  async inputs(_, manifest): Promise<Record<string, string>> {
    const [tokens, scores, assignments] = [
      await manifest("tokenize"),
      await manifest("score"),
      await manifest("assign"),
    ];
    if (!tokens || !scores || !assignments) return {};
    return {
      tokens: outputsHash(tokens, "tokens/"),
      scores: outputsHash(scores, "scores/test-"),
      assignments: outputsHash(assignments),
    };
  },
  prepare: (work, { key }) => async () => {
    const { run, configuration, emit } = work;
    const [tokenize, scores, assignments] = [
      await work.manifest("tokenize"),
      await work.manifest("score"),
      await work.manifest("assign"),
    ];
    const { trainSequences, testSequences } = tokenizeResult(tokenize, run);
    const read = (manifest: Manifest, under: string) =>
      readShards(outputsUnder(manifest, under).map((path) => `${run}/${path}`), work.files);
    const join = (kind: "train" | "test", scored: ReturnType<typeof read>) =>
      watchRows(work, joinScores(read(tokenize, `tokens/${kind}-`), scored));
    const total = trainSequences + testSequences;
    const { manifest, outputs } = await splitRows({
      train: join("train", read(assignments, "assignments/train-")),
      test: join("test", read(scores, "scores/test-")),
    }, {
      folder: `${run}/partition`,
      shardSequences: configuration.shardSequences,
      experts: configuration.experts,
      prefix: await splitPrefix(configuration),
      config: key,
      onProgress: (done) => emit({ type: "progress", stage: "split", done, total, unit: "sequences" }),
    });
    checkRows(`${run}/assignments`, manifest.train.sequences, trainSequences);
    checkRows(`${run}/scores`, manifest.test?.sequences ?? 0, testSequences);
    return {
      outputs: Object.fromEntries(
        Object.entries(outputs).map(([name, record]) => [`partition/${name}`, record]),
      ),
      result: { sequences: manifest.train.sequences, experts: manifest.experts },
    };
  },
  estimate: (c, { sequences }) => ({
    seconds: sequences / SEQUENCES_PER_SECOND,
    diskBytes: tokenBytes(c, sequences) + scoreBytes(c.experts, sequences),
    memoryBytes: 512 * c.experts * c.sequenceLength * 4,
  }),
  verify: verifySplit,
};

/** Splits a run into one folder of shards per expert. */
export const split = oneStage(stage);
