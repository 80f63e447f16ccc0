/**
 * The stage `split` writes one folder of shards per expert: the end of a partition.
 *
 * @module
 */

import { split as splitRows } from "./split_shares.ts";
import { readShards } from "../rows/arrow.ts";
import { joinScores } from "../rows/join.ts";
import { outputsHash, readManifest, stageKey } from "../run/manifest.ts";
import { SEQUENCES_PER_SECOND } from "./assign.ts";
import { splitPrefix } from "./learn.ts";
import { expertNames, wordsOf } from "./names.ts";
import { scoreBytes } from "./score.ts";
import {
  closeParts,
  hasParts,
  MADE_NOTES,
  pathsOf,
  type Sources,
  splitPart,
  unfinishedSplit,
} from "./split_parts.ts";
import { oneStage, pickSettings, type Stage, type Work } from "./stage.ts";
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
  makes:
    /^manifests\/split\/.+\.json$|^partition\/(manifest\.json|expert-\d{2,}\/(manifest\.json|(train|test)-\d{5,}\.arrow))$/,
  ofParts: MADE_NOTES,
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
    const { run } = work;
    const sources = await sourcesOf(work);
    const { trainSequences, testSequences } = tokenizeResult(sources.tokenize, run);
    const options = await optionsOf(work, key, trainSequences + testSequences);
    const read = (paths: string[]) => readShards(paths.map((path) => `${run}/${path}`), work.files);
    const join = (kind: "train" | "test") => {
      const { tokens, scored } = pathsOf(sources, kind);
      return watchRows(work, joinScores(read(tokens), read(scored)));
    };
    const { manifest, outputs } = await hasParts(run)
      ? await closeParts(work, sources, options)
      : await splitRows({ train: join("train"), test: join("test") }, options);
    checkRows(`${run}/assignments`, manifest.train.sequences, trainSequences);
    checkRows(`${run}/scores`, manifest.test?.sequences ?? 0, testSequences);
    return {
      outputs: Object.fromEntries(
        Object.entries(outputs).map(([name, record]) => [`partition/${name}`, record]),
      ),
      result: {
        sequences: manifest.train.sequences,
        experts: manifest.experts,
        words: await tellingWords(run),
      },
    };
  },
  async part(work, { key }, part) {
    const sources = await sourcesOf(work);
    const { trainSequences, testSequences } = tokenizeResult(sources.tokenize, work.run);
    const share = (trainSequences + testSequences) / part.of;
    return await splitPart(work, sources, await optionsOf(work, key, Math.round(share)), part);
  },
  async unfinished(context) {
    const inputs = await stage.inputs(context, (name) => readManifest(context.run, name));
    const values = pickSettings(context.configuration, stage.settings);
    return await unfinishedSplit(context, stageKey(stage.name, stage.revision, values, inputs));
  },
  estimate: (c, { sequences }) => ({
    seconds: sequences / SEQUENCES_PER_SECOND,
    diskBytes: tokenBytes(c, sequences) + scoreBytes(c.experts, sequences),
    memoryBytes: 512 * c.experts * c.sequenceLength * 4,
  }),
  verify: verifySplit,
};

/** Gives the words that set each expert's part apart, so that who sums up the run need not read the parts again. */
async function tellingWords(run: string): Promise<string[][]> {
  return (await expertNames(run) ?? []).map(wordsOf);
}

/** Reads the manifests of the stages that it stands on. */
async function sourcesOf({ manifest }: Work): Promise<Sources> {
  return {
    tokenize: await manifest("tokenize"),
    scores: await manifest("score"),
    assignments: await manifest("assign"),
  };
}

async function optionsOf({ run, configuration, emit }: Work, config: string, total: number) {
  return {
    folder: `${run}/partition`,
    shardSequences: configuration.shardSequences,
    experts: configuration.experts,
    prefix: await splitPrefix(configuration),
    config,
    onProgress: (done: number) => emit({ type: "progress", stage: "split", done, total, unit: "sequences" }),
  };
}

/** Splits a run into one folder of shards per expert. */
export const split = oneStage(stage);
