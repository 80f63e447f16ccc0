/**
 * The stage `tokenizer` trains the tokenizer on a bounded sample of training documents, or copies the one that is named.
 *
 * @module
 */

import { InputError } from "../../kernels/errors.ts";
import { hashFile, writeAtomic } from "../run/files.ts";
import { textSeedOf } from "../settings/text.ts";
import { loadTokenizer, trainTokenizer } from "../text/tokenizer.ts";
import { sideOf } from "../text/tokenize.ts";
import { documentsOf, fixedText, textHash } from "./corpus.ts";
import { type Made, oneStage, pickSettings, type Stage, type Work } from "./stage.ts";

/** The tokenizer's file, by its path in a run folder. */
export const TOKENIZER = "tokenizer.json";

/** Characters that are tokenized a second on two cores. */
export const TOKENIZED_CHARACTERS_PER_SECOND = 1.5e6;

/** What a tokenizer that is trained depends on. */
const LEARNING = ["vocabularySize", "tokenizerSample", "holdout", "seed"] as const;

const stage: Stage = {
  name: "tokenizer",
  about: "Trains the tokenizer on a sample of the training documents, or copies the one that is named.",
  needs: ["corpus"],
  settings: [...LEARNING, "textSeed", "tokenizer", "routers"],
  revision: 1,
  outputs: [TOKENIZER],
  makes: /^tokenizer\.(json|partial\/(sample\.txt|trained\.json))$/,
  values: ({ configuration }) =>
    configuration.tokenizer !== ""
      ? { eos: configuration.eos }
      : { ...pickSettings(configuration, LEARNING), seed: textSeedOf(configuration) },
  async inputs({ configuration }, manifest): Promise<Record<string, string>> {
    const corpus = configuration.tokenizer === "" ? await manifest("corpus") : null;
    return corpus ? { corpus: textHash(corpus) } : {};
  },
  async external({ configuration: { tokenizer } }): Promise<Record<string, string>> {
    if (tokenizer === "") return {};
    const info = await Deno.stat(tokenizer).catch(() => null);
    if (info?.isFile) return { tokenizer: (await hashFile(tokenizer)).sha256 };
    const fact = !info ? "there is none" : info.isDirectory ? "it is a folder" : "it is a pipe or a device";
    throw new InputError(`Cannot load tokenizer "${tokenizer}" as it must be a file: ${fact}`, {
      where: tokenizer,
    });
  },
  prepare(work) {
    const { tokenizer, vocabularySize } = work.configuration;
    return () => make(work);
  },
  estimate(configuration, { characters }) {
    const sample = Math.min(characters, configuration.tokenizerSample);
    return {
      seconds: sample / TOKENIZED_CHARACTERS_PER_SECOND,
      diskBytes: 60 * configuration.vocabularySize,
      memoryBytes: 20 * sample,
    };
  },
};

/** Trains the tokenizer or copies it. */
async function make(work: Work): Promise<Made> {
  const { run, configuration, emit, signal } = work;
  const texts = configuration.tokenizer === "" ? await trainingTexts(work) : undefined;
  const { vocabulary, eos, json } = texts === undefined
    ? await loadTokenizer(configuration.tokenizer, {
      eos: configuration.eos || undefined,
      vouched: work.files,
    })
    : await trainTokenizer(texts.documents, {
      vocabularySize: configuration.vocabularySize,
      sample: configuration.tokenizerSample,
      onWarning: (message) => emit({ type: "warning", message }),
      signal,
    });
  // The text was read as far as the sample goes.
  await texts?.vouched.checkBegun();
  return {
    outputs: { [TOKENIZER]: await writeAtomic(`${run}/${TOKENIZER}`, json) },
    result: { entries: vocabulary, eos },
  };
}

/** Makes the tokenizer of a run. */
export const tokenizer = oneStage(stage, [
  ...LEARNING,
  ...["textSeed", "tokenizer", "eos"] as const,
  ...["format", "textField", "textColumn", "tokenColumn"] as const, // of text that is no run's
]);

/** Opens the documents of the training side, and what checks their files. */
async function trainingTexts(work: Work) {
  const { holdout } = work.configuration, seed = textSeedOf(work.configuration);
  const corpus = await work.manifest("corpus");
  const text = fixedText(work, corpus);
  const documents = async function* () {
    for await (const document of documentsOf(work, corpus, text)) {
      work.signal?.throwIfAborted();
      if (sideOf(document.text, seed, holdout) === "train") yield document;
    }
  };
  return { documents: documents(), vouched: text.vouched };
}
