/**
 * Trains the BPE tokenizer of a run on a sample of its training documents, or writes one to a file.
 *
 *   deno task tokenizer --run runs/a --vocab-size 4096
 *   deno task tokenizer docs.jsonl --text-field body --output tokenizer.json
 */
import { ensure } from "../kernels/errors.ts";
import { writeAtomic } from "../pipeline/graph/mod.ts";
import { resolveConfiguration } from "../pipeline/settings/mod.ts";
import { take } from "./cli/options.ts";
import { stageTask } from "./cli/stage.ts";

export const TASK = await stageTask("tokenizer", import.meta, take("output"), async (call) => {
  const { checkWritten, pipeValues, until } = await import("./cli/pipe.ts");
  const { paths, sources, options, onWarning, signal, tell } = call;
  // All text is for training, and in its order; a tokenizer that exists only says what ids stand
  // for.
  const { tokenColumn } = { ...sources.file, ...sources.flags };
  pipeValues(call, [
    "holdout",
    "seed",
    "textSeed",
    ...tokenColumn ? [] : ["tokenizer", "eos"] as const,
  ]);
  const { output } = options;
  ensure(
    output && output !== "-",
    `Cannot write the tokenizer as --output must name a file: it is ${output ?? "not given"}`,
  );
  const configuration = resolveConfiguration(sources);
  await checkWritten(call, [configuration.tokenizer], paths);
  const { readDocuments, readOptions, trainTokenizer } = await import("../pipeline/text/mod.ts");
  const documents = readDocuments(paths, readOptions(configuration));
  const { json, vocabulary } = await trainTokenizer(until(signal, documents), {
    vocabularySize: configuration.vocabularySize,
    sample: configuration.tokenizerSample,
    onWarning,
    signal,
  });
  await writeAtomic(output, json);
  tell(`${output}: ${vocabulary} entries`);
});
