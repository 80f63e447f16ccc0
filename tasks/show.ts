/**
 * Prints rows of an Arrow shard with their text; with `--document` where a document of a run comes from, and where it went.
 *
 *   deno task show runs/a/partition/expert-00/train-00000.arrow --limit 3
 *   deno task show runs/a --document 1234
 */
import { InputError } from "../kernels/mod.ts";
import { loadTokenizer, showRows } from "../pipeline/text/mod.ts";
import { field } from "../pipeline/settings/mod.ts";
import { verifyFile } from "../pipeline/run/mod.ts";
import { defineTask } from "./command.ts";
import { forOutput } from "./layout.ts";
import { checkFile, documentId, rowText, showDocument, tokenizerAbove } from "./show_rows.ts";

export const TASK = await defineTask({
  name: "show",
  startsAnew: true,
  positional: "SHARD…",
  options: {
    limit: field.integer({ default: 10, min: 1, help: "most rows to print" }),
    document: field.custom(documentId, {
      value: "ID",
      help: "print the file and line of this document of a run, or of the run that a shard is of",
    }),
  },
  run: async ({ paths, sources, options, onWarning }) => {
    if (paths.length === 0) throw new InputError("Cannot show rows as a shard must be named: none is");
    if (options.document !== undefined) return await showDocument(paths, options.document, options.json);
    let left = options.limit;
    for (const path of paths) {
      const named = sources.flags?.tokenizer;
      const file = named || (path === "-" ? "" : await tokenizerAbove(path));
      await checkFile(path);
      if (path !== "-") await verifyFile(path); // whole, as fewer rows may be shown than it holds
      const tokenizer = file ? await loadTokenizer(file) : undefined;
      const warn = (why: string) => onWarning(`no text, as "${path}" ${why}: set --tokenizer`);
      const onOther = named ? undefined : () => warn(`was made with another tokenizer than ${file}`);
      let isFirst = true;
      for await (const row of showRows(path === "-" ? Deno.stdin.readable : path, tokenizer, onOther)) {
        if (left-- <= 0) return;
        if (!file && isFirst) warn("has no tokenizer.json above it");
        isFirst = false;
        console.log(forOutput(options.json ? JSON.stringify(row) : rowText(row)));
      }
    }
  },
}, import.meta);
