/**
 * Fixes the text of a run: hashes its files, or keeps a copy of what can be read once only.
 *
 *   deno task corpus --run runs/a --input 'docs/*.jsonl'
 *   deno task corpus --output embedded.jsonl
 */
import { InputError } from "../kernels/mod.ts";
import { writeAtomic } from "../pipeline/run/mod.ts";
import { field, resolveConfiguration } from "../pipeline/settings/mod.ts";
import { documentLines, openDocuments } from "../pipeline/text/mod.ts";
import { defineTask } from "./command.ts";
import { IN_A_RUN } from "./options.ts";
import { checkWritten, pipeValues, until, writeOut } from "./pipe.ts";
import { isPipe, runStageTask } from "./stage.ts";

export const TASK = await defineTask({
  name: "corpus",
  startsAnew: isPipe,
  options: {
    ...IN_A_RUN,
    output: field.path({ value: "PATH" }, "file of documents to write instead of working in a run"),
  },
  run: async (call) => {
    const { sources, options, signal, tell } = call;
    if (!options.output) return await runStageTask("corpus", call);
    const { tokenColumn } = pipeValues(call, [], { pipe: "--output", left: "--output" });
    if (tokenColumn) {
      throw new InputError(
        `Cannot write documents as they must be text: --token-column names ids, "${tokenColumn}"`,
      );
    }
    const configuration = resolveConfiguration(sources);
    await checkWritten(call, [], configuration.input);
    const lines = documentLines(openDocuments(configuration));
    if (options.output === "-") return await writeOut(lines, signal);
    const { bytes } = await writeAtomic(options.output, until(signal, lines));
    tell(`${options.output}: ${bytes} bytes`);
  },
}, import.meta);
