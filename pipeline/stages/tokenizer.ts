/**
 * The tokenizer of a run: trained on a bounded sample of training documents, or a copy of the one that is named.
 *
 * @module
 */

import { InputError } from "../../kernels/errors.ts";
import { type Making, type Node, oneByOne, type Work } from "../graph/node.ts";
import { hashFile, writeAtomic } from "../run/files.ts";
import { findTextSeed } from "../settings/text.ts";
import { chooseSide } from "../text/tokenize.ts";
import { loadTokenizer, type Tokenizer, trainTokenizer } from "../text/tokenizer.ts";
import { TOKENIZER, TOKENIZER_FILE } from "../graph/places.ts";
import type { GraphOf } from "./stage.ts";
import { readTaken } from "./take.ts";
import { hashText } from "./text.ts";

/** Makes the node of the tokenizer. Throws an `InputError` where the one that is named is no file, or where none of the size can be trained. */
export async function tokenizerNode(of: GraphOf, taken?: Node): Promise<Node> {
  const { configuration, text } = of;
  const { tokenizer, vocabularySize, tokenizerSample, holdout, eos } = configuration;
  const isNamed = tokenizer !== "";
  const open = (making: Making, work: Work) =>
    isNamed ? loadTokenizer(tokenizer, { eos: eos || undefined }) : train(of, making, work, taken);
  return {
    name: TOKENIZER,
    needs: taken && !isNamed ? [taken.name] : [],
    settings: isNamed
      ? { tokenizer: await hashNamed(tokenizer), eos }
      : { text: hashText(text), vocabularySize, tokenizerSample, holdout, seed: findTextSeed(configuration) },
    links: { [TOKENIZER_FILE]: TOKENIZER_FILE },
    revision: 1,
    maker: oneByOne(TOKENIZER, async (making, work) => {
      const { json, vocabulary, eos, sha256 } = await open(making, work);
      await writeAtomic(`${making.folder}/${TOKENIZER_FILE}`, json);
      return { entries: vocabulary, eos, tokenizer: sha256 };
    }),
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
  { configuration, text, blocks }: GraphOf,
  making: Making,
  { emit, signal }: Work,
  taken?: Node,
): Promise<Tokenizer> {
  const { holdout, vocabularySize, tokenizerSample } = configuration, seed = findTextSeed(configuration);
  const documents = async function* () {
    for (const block of blocks) {
      for await (const document of readTaken(block, configuration, text, making, taken)) {
        signal?.throwIfAborted();
        const side = document.side ?? chooseSide(document.text, seed, holdout);
        if (side === "train") yield document;
      }
    }
  };
  return await trainTokenizer(documents(), {
    ...{ vocabularySize, sample: tokenizerSample, signal },
    onWarning: (message) => emit({ type: "warning", message }),
  });
}
