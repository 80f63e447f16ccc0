/**
 * The stage `tokenize` turns documents into shuffled shards of training sequences, and shards of held-out ones in their order.
 *
 * @module
 */

import * as v from "valibot";
import { InputError, say } from "../../kernels/errors.ts";
import { emptyBatch, type RecordBatch } from "../rows/arrow.ts";
import { tokenArrayOf } from "../rows/columns.ts";
import { writeShards } from "../rows/shards.ts";
import { shuffle } from "../rows/shuffle.ts";
import { type FileRecord, oneLine } from "../run/files.ts";
import { type Manifest, manifestPath, readManifest, stageKey } from "../run/manifest.ts";
import { conform } from "../run/schema.ts";
import { type Configuration, namesOf } from "../settings/configuration.ts";
import { TEXT, textSeedOf } from "../settings/text.ts";
import {
  noCounts,
  tokenCounts,
  type TokenizeCounts,
  tokenizeDocuments,
  type TokenizeOptions,
  tokenLineage,
} from "../text/tokenize.ts";
import { loadTokenizer, type Tokenizer } from "../text/tokenizer.ts";
import { type Document } from "../text/readers.ts";
import { type Limit, takeByHash } from "../text/take.ts";
import { commandOf } from "./command.ts";
import { documentsOf, type FixedText, fixedText, textFiles, textHash } from "./corpus.ts";
import { oneStage, pickSettings, type Stage, type Work } from "./stage.ts";
import {
  checkParts,
  closeParts,
  hasFiles,
  hasParts,
  MADE_PARTS,
  type Sides,
  type TextInFiles,
  tokenizePart,
  unfinishedTokens,
} from "./tokenize_parts.ts";
import { TOKENIZED_CHARACTERS_PER_SECOND, TOKENIZER } from "./tokenizer.ts";

const RESULT = v.object({
  documents: v.number(),
  tokens: v.number(),
  trainSequences: v.number(),
  testSequences: v.number(),
  droppedTails: v.number(),
  vocabulary: v.number(),
  eos: v.number(),
  tokenizer: v.string(),
});

/**
 * What the stage `tokenize` tells later stages: documents with text, real tokens (EOS among them), training
 * and held-out sequences, tails of one token that were dropped, V, the id of EOS, and the SHA-256 of
 * tokenizer.json.
 */
export type TokenizeResult = v.InferOutput<typeof RESULT>;

/** Reads the result of the stage from its manifest in a run. Throws an `InputError` where it lacks something. */
export function tokenizeResult({ result }: Manifest, run: string): TokenizeResult {
  try {
    return conform(RESULT, result);
  } catch (cause) {
    const where = manifestPath(run, stage.name);
    const what = `Cannot read "${where}" as its result must say what the text came to: ${oneLine(cause)}`;
    throw new InputError(what, {
      where,
      remedy: say`run ${commandOf(stage, run, { force: true })}, or copy the file again`,
      cause,
    });
  }
}

/** Settings that its outputs depend on, besides the seed of the text. */
const OWN = [
  "eos",
  "sequenceLength",
  "packing",
  "maxTokens",
  "take",
  "holdout",
  "shardSequences",
  "seed",
] as const;

const stage: Stage = {
  name: "tokenize",
  about: "Turns documents into shuffled shards of training sequences, and shards of held-out ones.",
  needs: ["corpus", "tokenizer"],
  settings: [...OWN, "textSeed"],
  revision: 1,
  outputs: ["tokens/"],
  values: ({ configuration: c }) => {
    const { take, ...values } = pickSettings(c, OWN);
    const textSeed = textSeedOf(c);
    return {
      ...values,
      ...(c.maxTokens === 0 ? {} : { take }), // without a limit nothing depends on it
      ...(textSeed === c.seed ? {} : { textSeed }),
    };
  },
  makes:
    /^tokens\/((train|test)-\d{5,}\.arrow|files\/\d{5,}-(train|test)\.arrow|exchange\/\d{5,}\/\d{5,}\.arrows|spill\.partial\/(\d{5,}\/)?(\d+\.arrows\.parts\/)*\d+\.arrows)$|^manifests\/tokenize\/.+\.json$/,
  ofParts: MADE_PARTS,
  async inputs(_, manifest): Promise<Record<string, string>> {
    const [corpus, trained] = [await manifest("corpus"), await manifest("tokenizer")];
    return corpus && trained
      ? { corpus: textHash(corpus), tokenizer: trained.outputs[TOKENIZER].sha256 }
      : {};
  },
  prepare: (work, { key }) => async () => {
    const { run, configuration: c } = work;
    const { tokenizer, options, corpus } = await openText(work, key);
    const counts = noCounts();
    await Deno.mkdir(`${run}/tokens`, { recursive: true });
    const text = fixedText(work, corpus);
    const taken = () => takenOf(work, corpus, text, tokenizer);
    const { outputs, rows } = hasFiles(c) && await hasParts(run)
      ? await closeParts(work, await textOf(work, key), counts)
      : await writeTokens(work, sidesOf(work, taken(), tokenizer, options, counts));
    await text.vouched.checkBegun(); // a limit leaves a file where it is reached
    const { documents, tokens, droppedTails } = counts;
    const result: TokenizeResult = {
      documents,
      tokens,
      trainSequences: rows.train,
      testSequences: rows.test,
      droppedTails,
      vocabulary: tokenizer.vocabulary,
      eos: tokenizer.eos,
      tokenizer: tokenizer.sha256,
    };
    return { outputs, result };
  },
  async part(work, { key }, part) {
    checkParts(work.configuration);
    return await tokenizePart(work, await textOf(work, key), part);
  },
  async unfinished(context) {
    const inputs = await stage.inputs(context, (name) => readManifest(context.run, name));
    const values = await stage.values!(context);
    return await unfinishedTokens(context, stageKey(stage.name, stage.revision, values, inputs));
  },
  async verify({ run, attempt }) {
    await attempt(`manifests/${stage.name}.json`, async () => {
      const manifest = await readManifest(run, stage.name);
      if (manifest) tokenizeResult(manifest, run);
    });
  },
  estimate: (c, { characters, sequences }) => ({
    seconds: characters / TOKENIZED_CHARACTERS_PER_SECOND,
    diskBytes: tokenBytes(c, sequences),
    memoryBytes: 100e6,
  }),
};

/** Turns the text of a run into tokens. */
export const tokenize = oneStage(stage, [
  ...stage.settings,
  "tokenizer",
  ...["prefix", "prefixLengths"] as const, // which must fit a sequence length that is given
  ...namesOf(TEXT, "input", "corpus", "corpusCharacters"),
]);

/** Estimates the bytes of token shards. */
export function tokenBytes({ sequenceLength, vocabularySize }: Configuration, sequences: number): number {
  return sequences * (sequenceLength * tokenArrayOf(vocabularySize).BYTES_PER_ELEMENT + 32);
}

/**
 * More characters than a token has on average in most text: texts that probably hold enough tokens are
 * counted.
 */
const CHARACTERS_PER_TOKEN = 6;

/** Opens the documents that the limits leave. */
function takenOf(
  work: Work,
  corpus: Manifest,
  text: FixedText,
  tokenizer: Tokenizer,
): AsyncIterable<Document> {
  const { maxTokens: most, take } = work.configuration;
  const onLeftOut: Limit["onLeftOut"] = (sources, all) => {
    const names = sources.slice(0, 5).map((source) => `"${source}"`).join(", ");
    const more = sources.length > 5 ? ` and ${sources.length - 5} more` : "";
    const message = `the limit leaves nothing of ${sources.length} of ${all} sources: ${names}${more}`;
    work.emit({ type: "warning", message });
  };
  if (most === 0 || take === "head") return documentsOf(work, corpus, text, onLeftOut);
  return takeByHash(() => documentsOf(work, corpus, text), {
    seed: textSeedOf(work.configuration),
    most,
    sizes: (documents) => tokenCounts(documents, tokenizer, work.workers),
    least: (characters) => (characters + 1) / CHARACTERS_PER_TOKEN,
    onLeftOut,
  });
}

/** Opens what makes tokens of the text. */
async function openText(work: Work, key: string) {
  const { run, configuration: c } = work;
  const tokenizer = await loadTokenizer(`${run}/${TOKENIZER}`, {
    eos: c.eos || undefined,
    vouched: work.files,
  });
  const options: TokenizeOptions = {
    sequenceLength: c.sequenceLength,
    packing: c.packing,
    holdout: c.holdout,
    seed: c.seed,
    textSeed: textSeedOf(c),
    maxTokens: c.take === "head" && c.maxTokens || undefined,
    workers: work.workers,
    config: key,
  };
  return { tokenizer, options, corpus: await work.manifest("corpus") };
}

/** Opens the text to be made into tokens by its files. */
async function textOf(work: Work, key: string): Promise<TextInFiles> {
  const { tokenizer, options, corpus } = await openText(work, key);
  return {
    files: textFiles(work, corpus),
    key,
    lineage: tokenLineage(tokenizer, options),
    tokenize: (documents) => sidesOf(work, documents, tokenizer, options, noCounts()),
  };
}

/** Shuffles the training sequences and writes both sides. */
async function writeTokens({ run, configuration: c }: Work, { train, test }: Sides) {
  const outputs: Record<string, FileRecord> = {};
  const rows = { train: 0, test: 0 };
  const write = async (kind: "train" | "test", batches: ReadableStream<RecordBatch>) => {
    for await (const shard of writeShards(`${run}/tokens`, kind, batches, c.shardSequences)) {
      outputs[`tokens/${shard.name}`] = { bytes: shard.bytes, sha256: shard.sha256 };
      rows[kind] += shard.rows;
    }
  };
  const shuffled = shuffle(train, { seed: c.seed, spill: `${run}/tokens/spill.partial` });
  await Promise.all([write("train", shuffled), ...(test ? [write("test", test)] : [])]);
  return { outputs, rows };
}

/** Separates the two sides of the held-out split: reading the training side drives the other one. */
function sidesOf(
  work: Work,
  documents: AsyncIterable<Document>,
  tokenizer: Tokenizer,
  options: TokenizeOptions,
  counts: TokenizeCounts,
): Sides {
  const empty = emptyBatch(["document", "source", "tokens"], tokenLineage(tokenizer, options));
  const held = new TransformStream<RecordBatch, RecordBatch>();
  const writer = held.writable.getWriter();
  const train = async function* () {
    let reason: unknown = new Error("tokenizing ended early");
    try {
      yield empty;
      if (options.holdout) await writer.write(empty);
      for await (
        const { side, batch } of tokenizeDocuments(documents, tokenizer, options, counts)
      ) {
        work.signal?.throwIfAborted();
        work.emit({ type: "progress", stage: "tokenize", done: counts.documents, unit: "documents" });
        if (side === "train") yield batch;
        else await writer.write(batch);
      }
      reason = undefined;
    } catch (error) {
      reason = error;
      throw error;
    } finally {
      await (reason === undefined ? writer.close() : writer.abort(reason)).catch(() => {});
    }
  };
  return { train: ReadableStream.from(train()), test: options.holdout ? held.readable : undefined, counts };
}
