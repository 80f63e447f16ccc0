/**
 * Turns documents into sequences of tokens: in a run folder, or from files or a pipe to a file or a
 * pipe.
 *
 *   deno task tokenize --run runs/a
 *   deno task tokenize - --format jsonl --tokenizer runs/a/tokenizer.json \
 *     < docs.jsonl > tokens.arrows
 */
import { ensure } from "../kernels/errors.ts";
import { resolveConfiguration } from "../pipeline/settings/mod.ts";
import { take } from "./cli/options.ts";
import { stageTask } from "./cli/stage.ts";

export const TASK = await stageTask(
  "tokenize",
  import.meta,
  take("part", "workers", "output"),
  async (call) => {
    const { arrowOutput, checkWritten, pipeValues } = await import("./cli/pipe.ts");
    const { paths, sources, options } = call;
    // All text is tokenized, in its order, up to a limit.
    const takes = sources.flags?.take === "hash" ? ["take"] as const : [];
    const routing = ["prefix", "prefixLengths"] as const;
    pipeValues(call, ["holdout", "seed", "textSeed", "shardSequences", ...routing, ...takes]);
    // Nothing is routed here. The smallest prefix fits every sequence length, whatever a preset or
    // a file says.
    const flags = { ...sources.flags, prefix: 2, prefixLengths: [] };
    const configuration = resolveConfiguration({ ...sources, flags });
    const { tokenizer: file, eos, sequenceLength, packing, maxTokens } = configuration;
    ensure(file, "Cannot tokenize as --tokenizer must name a tokenizer.json: it is not given");
    await checkWritten(call, [file], paths);
    const text = await import("../pipeline/text/mod.ts");
    const tokenizer = await text.loadTokenizer(file, { eos });
    const documents = text.readDocuments(paths, text.readOptions(configuration));
    const { workers = navigator.hardwareConcurrency } = options;
    const batches = text.tokenBatches(documents, tokenizer, {
      sequenceLength,
      packing,
      maxTokens,
      workers,
    });
    await arrowOutput(batches, options.output, call);
  },
);
