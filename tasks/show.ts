/**
 * Prints rows of an Arrow shard with their text; with `--document` where a document of a run comes
 * from, and where it went.
 *
 *   deno task show runs/a/partition/expert-00/train-00000.arrow --limit 3
 *   deno task show runs/a --document 1234
 */
import { dirname } from "node:path";
import { ensure, InputError } from "../kernels/errors.ts";
import { isFolder, listEntries } from "../pipeline/graph/files.ts";
import { findRun, findTokenizer, verifyFile } from "../pipeline/graph/mod.ts";
import { field } from "../pipeline/settings/mod.ts";
import type { FoundDocument } from "../pipeline/stages/mod.ts";
import type { ShownRow } from "../pipeline/text/mod.ts";
import { defineTask } from "./cli/command.ts";
import { counted, forOutput, shortSourceName } from "./cli/layout.ts";

/** Lists the folders of experts in a folder of parts. */
const experts = async (parts: string): Promise<string[]> =>
  (await listEntries(parts)).map(({ name }) => name).filter((name) => name.startsWith("expert-"))
    .sort();

/** Throws where a shard is a folder, and reports which file in it to name. */
async function checkFile(shard: string): Promise<void> {
  if (!await isFolder(shard)) return;
  const names = (await Array.fromAsync(Deno.readDir(shard), ({ name }) => name)).sort();
  const name = names.find((name) => /^t(est|rain)\b.*\.arrow$/.test(name));
  const parts = `${await findRun(shard) ?? shard}/partition`;
  const [part] = await experts(parts);
  const file = name ? `${shard}/${name}` : part && `${parts}/${part}/train-00000.arrow`;
  const remedy = file && `name a file, such as ${file}`;
  throw new InputError(`Cannot show "${shard}" as it must be a shard: it is a folder`, { remedy });
}

/** Reads the id of a document. */
function documentId(text: string): bigint {
  const isId = /^\d{1,20}$/.test(text);
  ensure(isId, `Cannot show a document as its id must be a whole number: it is "${text}"`);
  return BigInt(text);
}

/** Prints where a document comes from. */
async function showDocument([place, further]: string[], id: bigint, json: boolean): Promise<void> {
  ensure(!further, `Cannot show a document as one run must be named: "${further}" is a second one`);
  const { findDocument } = await import("../pipeline/stages/documents.ts");
  const run = await findRun(place);
  const document = run === null ? null : await findDocument(run, id);
  const fact = run === null ? `"${place}" lies in none` : `"${run}" has none with this id`;
  ensure(document, `Cannot show document ${id} as it must be one of a run: ${fact}`, {
    remedy: "take the id from a row that show prints of a shard of that run",
  });
  console.log(forOutput(json ? JSON.stringify(document) : documentText(document)));
}

const facts = (...all: (string | false | null | undefined)[]) => all.filter(Boolean).join(", ");

/** Lays out a document: where it stands, and what became of it. */
function documentText(
  { document, path, place, source, side, tokens, expert, shares, sha256 }: FoundDocument,
): string {
  return facts(
    `document ${document}`,
    `${path}, number ${place} there`,
    source && `source ${shortSourceName(source)}`,
    side === "train" ? "for training" : "held out",
    counted(tokens, "tokens"),
    expert === "mixed" ? `experts ${shares}` : expert && `expert ${expert}`,
    `SHA-256 ${sha256}`,
  );
}

/** Lays out one row of a shard: what is known of it, then its text. */
function rowText(
  { sequence, document, source, length, nll, costs, expert, text }: ShownRow,
): string {
  const values = nll?.map((value) => value.toFixed(costs ? 3 : 1)).join(" ");
  const about = facts(
    `sequence ${sequence}`,
    document !== undefined && `document ${document}`,
    source && `source ${shortSourceName(source)}`,
    counted(length, "tokens"),
    expert !== undefined && `expert ${expert}`,
    values && `${costs ? "costs" : "NLL"} ${values}`,
  );
  return about + (text === undefined ? "" : `\n  ${text.replaceAll("\n", "\n  ")}`);
}

export const TASK = await defineTask({
  name: "show",
  startsAnew: true,
  positional: "SHARD…",
  options: {
    limit: field.integer({ default: 10, min: 1 }, "most rows to print"),
    document: field.custom(
      documentId,
      { value: "ID" },
      "print the file and line of this document of a run, or of the run that a shard is of",
    ),
  },
  run: async ({ paths, sources, options, onWarning }) => {
    ensure(paths.length > 0, "Cannot show rows as a shard must be named: none is");
    if (options.document !== undefined) {
      return await showDocument(paths, options.document, options.json);
    }
    const { loadTokenizer, showRows } = await import("../pipeline/text/mod.ts");
    let left = options.limit;
    for (const path of paths) {
      const named = sources.flags?.tokenizer;
      const file = named || (path === "-" ? undefined : await findTokenizer(dirname(path), 3));
      await checkFile(path);
      if (path !== "-") await verifyFile(path); // whole, as fewer rows may be shown than it holds
      const tokenizer = file ? await loadTokenizer(file) : undefined;
      const warn = (why: string) => onWarning(`no text, as "${path}" ${why}: set --tokenizer`);
      const onOther = named
        ? undefined
        : () => warn(`was made with another tokenizer than ${file}`);
      let isFirst = true;
      for await (
        const row of showRows(path === "-" ? Deno.stdin.readable : path, tokenizer, onOther)
      ) {
        if (left-- <= 0) return;
        if (!file && isFirst) warn("has no tokenizer.json above it");
        isFirst = false;
        console.log(forOutput(options.json ? JSON.stringify(row) : rowText(row)));
      }
    }
  },
}, import.meta);
