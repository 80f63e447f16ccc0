/**
 * Prints rows of an Arrow shard with their text.
 *
 *   deno task show runs/a/partition/expert-00/train-00000.arrow --limit 3
 */
import { dirname } from "node:path";
import { InputError } from "../kernels/mod.ts";
import { loadTokenizer, showRows } from "../pipeline/text/mod.ts";
import { field } from "../pipeline/settings/mod.ts";
import { vouchedFiles } from "../pipeline/run/mod.ts";
import { defineTask } from "./command.ts";
import { forOutput, rowText } from "./text.ts";

/** Finds the tokenizer of the run that a shard lies in. */
async function tokenizerAbove(shard: string): Promise<string> {
  for (let folder = dirname(shard), up = 0; up < 4; folder = `${folder}/..`, up++) {
    const path = `${folder}/tokenizer.json`;
    if (await Deno.stat(path).catch(() => null)) return path;
  }
  return "";
}

/** Throws where a shard is a folder, and says which file in it to name. */
async function checkFile(shard: string): Promise<void> {
  if (!(await Deno.stat(shard).catch(() => null))?.isDirectory) return;
  const names = (await Array.fromAsync(Deno.readDir(shard), ({ name }) => name)).sort();
  const name = names.find((name) => name.endsWith(".arrow")) ?? "partition/expert-00/train-00000.arrow";
  const remedy = `name a file in it, such as ${shard}/${name}`;
  throw new InputError(`Cannot show "${shard}" as it must be a shard: it is a folder`, { remedy });
}

export const TASK = await defineTask({
  name: "show",
  startsAnew: true,
  positional: "SHARD…",
  options: { limit: field.integer({ default: 10, min: 1, help: "most rows to print" }) },
  run: async ({ paths, sources, options, onWarning }) => {
    if (paths.length === 0) throw new InputError("Cannot show rows as a shard must be named: none is");
    let left = options.limit;
    for (const path of paths) {
      const named = sources.flags?.tokenizer;
      const file = named || (path === "-" ? "" : await tokenizerAbove(path));
      await checkFile(path);
      const vouched = await vouchedFiles(path, file);
      if (path !== "-") await vouched.checkRest(path); // whole, as fewer rows may be shown than it holds
      const tokenizer = file ? await loadTokenizer(file, { vouched }) : undefined;
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
