/**
 * The tokenizer of a run: trained on a bounded sample of training documents, or a copy of the one that is named.
 *
 * @module
 */

import { InputError } from "../../kernels/errors.ts";
import type { Maker, Making, Node, Work } from "../graph/node.ts";
import { hashFile, writeAtomic } from "../run/files.ts";
import type { Configuration } from "../settings/configuration.ts";
import { textSeedOf } from "../settings/text.ts";
import type { Block } from "../text/blocks.ts";
import { sideOf } from "../text/tokenize.ts";
import { loadTokenizer, type Tokenizer, trainTokenizer } from "../text/tokenizer.ts";
import { TOKENIZER, TOKENIZER_FILE } from "../graph/places.ts";
import { readTaken } from "./take.ts";
import { hashText, type Text } from "./text.ts";

const LINKS = { [TOKENIZER_FILE]: TOKENIZER_FILE };

/** Makes the node of the tokenizer. Throws an `InputError` where the one that is named is no file, or where none of the size can be trained. */
export async function tokenizerNode(
  configuration: Configuration,
  text?: { text: Text; blocks: readonly Block[]; taken?: Node },
): Promise<Node> {
  const { tokenizer, vocabularySize, tokenizerSample, holdout, eos } = configuration;
  if (tokenizer !== "") {
    const settings = { tokenizer: await hashNamed(tokenizer), eos };
    const maker: Maker = {
      stage: TOKENIZER,
      make: async (
        [making],
      ) => [await keep(making, await loadTokenizer(tokenizer, { eos: eos || undefined }))],
    };
    return { name: TOKENIZER, needs: [], settings, links: LINKS, revision: 1, maker };
  }
  const { taken } = text!;
  return {
    name: TOKENIZER,
    needs: taken ? [taken.name] : [],
    links: LINKS,
    settings: {
      text: hashText(text!.text),
      vocabularySize,
      tokenizerSample,
      holdout,
      seed: textSeedOf(configuration),
    },
    revision: 1,
    maker: {
      stage: TOKENIZER,
      make: async ([making], work) => [await keep(making, await train(configuration, text!, making, work))],
    },
  };
}

async function hashNamed(tokenizer: string): Promise<string> {
  const info = await Deno.stat(tokenizer).catch(() => null);
  if (info?.isFile) return (await hashFile(tokenizer)).sha256;
  const fact = !info ? "there is none" : info.isDirectory ? "it is a folder" : "it is a pipe or a device";
  throw new InputError(`Cannot load tokenizer "${tokenizer}" as it must be a file: ${fact}`, {
    where: tokenizer,
  });
}

async function train(
  configuration: Configuration,
  { text, blocks, taken }: { text: Text; blocks: readonly Block[]; taken?: Node },
  making: Making,
  { emit, signal }: Work,
): Promise<Tokenizer> {
  const { holdout, vocabularySize, tokenizerSample } = configuration, seed = textSeedOf(configuration);
  const documents = async function* () {
    for (const block of blocks) {
      for await (const document of readTaken(block, configuration, text, making, taken)) {
        signal?.throwIfAborted();
        if (sideOf(document.text, seed, holdout) === "train") yield document;
      }
    }
  };
  return await trainTokenizer(documents(), {
    ...{ vocabularySize, sample: tokenizerSample, signal },
    onWarning: (message) => emit({ type: "warning", message }),
  });
}

async function keep({ folder, wrote }: Making, { json, vocabulary, eos, sha256 }: Tokenizer) {
  wrote(TOKENIZER_FILE, await writeAtomic(`${folder}/${TOKENIZER_FILE}`, json));
  return { entries: vocabulary, eos, tokenizer: sha256 };
}
