/**
 * Fixes the text of a run: hashes its files, or keeps a copy of what can be read once only.
 *
 *   deno task corpus --run runs/a --input 'docs/*.jsonl'
 *   deno task corpus --output embedded.jsonl
 */
import { ensure } from "../kernels/errors.ts";
import { writeAtomic } from "../pipeline/graph/mod.ts";
import { field, resolveConfiguration } from "../pipeline/settings/mod.ts";
import { defineTask } from "./cli/command.ts";
import { IN_A_RUN, take } from "./cli/options.ts";
import { isPipe, runStageTask } from "./cli/stage.ts";

export const TASK = await defineTask({
  name: "corpus",
  startsAnew: isPipe,
  options: {
    ...IN_A_RUN,
    ...take("part"),
    output: field.path({ value: "PATH" }, "file of documents to write instead of working in a run"),
  },
  run: async (call) => {
    const { sources, options, signal, tell } = call;
    if (!options.output) return await runStageTask("corpus", call);
    const { checkWritten, pipeValues, until, writeOut } = await import("./cli/pipe.ts");
    const { tokenColumn } = pipeValues(call, [], { pipe: "--output", left: "--output" });
    const fact = `--token-column names ids, "${tokenColumn}"`;
    ensure(!tokenColumn, `Cannot write documents as they must be text: ${fact}`);
    const configuration = resolveConfiguration(sources);
    await checkWritten(call, [], configuration.input);
    const { documentLines, openDocuments } = await import("../pipeline/text/mod.ts");
    const lines = documentLines(openDocuments(configuration));
    if (options.output === "-") return await writeOut(lines, signal);
    const { bytes } = await writeAtomic(options.output, until(signal, lines));
    tell(`${options.output}: ${bytes} bytes`);
  },
}, import.meta);
