/**
 * Trains the BPE tokenizer of a run on a sample of its training documents, or writes one to a file.
 *
 *   deno task tokenizer --run runs/a --vocab-size 4096
 *   deno task tokenizer docs.jsonl --text-field body --output tokenizer.json
 */
import { InputError } from "../kernels/mod.ts";
import { writeAtomic } from "../pipeline/run/mod.ts";
import { resolveConfiguration } from "../pipeline/settings/mod.ts";
import { readDocuments, readOptions, trainTokenizer } from "../pipeline/text/mod.ts";
import { take } from "./options.ts";
import { checkWritten, pipeValues, until } from "./pipe.ts";
import { stageTask } from "./stage.ts";

export const TASK = await stageTask("tokenizer", import.meta, take("output"), async (call) => {
  const { paths, sources, options, onWarning, signal, tell } = call;
  // All text is for training, and in its order; a tokenizer that exists only says what ids stand for.
  const { tokenColumn } = { ...sources.file, ...sources.flags };
  pipeValues(call, ["holdout", "seed", "textSeed", ...tokenColumn ? [] : ["tokenizer", "eos"] as const]);
  if (!options.output || options.output === "-") {
    throw new InputError(
      `Cannot write the tokenizer as --output must name a file: it is ${options.output ?? "not given"}`,
    );
  }
  const configuration = resolveConfiguration(sources);
  await checkWritten(call, [configuration.tokenizer], paths);
  const documents = readDocuments(paths, readOptions(configuration));
  const { json, vocabulary } = await trainTokenizer(until(signal, documents), {
    vocabularySize: configuration.vocabularySize,
    sample: configuration.tokenizerSample,
    onWarning,
    signal,
  });
  await writeAtomic(options.output, json);
  tell(`${options.output}: ${vocabulary} entries`);
});
