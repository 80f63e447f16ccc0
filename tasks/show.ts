/**
 * Prints rows of an Arrow shard with their text; with `--document` where a document of a run comes
 * from, and where it went. It lists all documents of a run's table of them.
 *
 *   deno task show runs/a/partition/expert-00/train-00000.arrow --limit 3
 *   deno task show runs/a --document 'letters/*.txt'
 *   deno task show runs/a/partition/documents.arrow
 */
import { basename, dirname } from "node:path";
import { ensure, InputError, say, task } from "../kernels/errors.ts";
import { isFolder, listEntries } from "../pipeline/graph/files.ts";
import { findRun, findTokenizer, verifyFile } from "../pipeline/graph/mod.ts";
import { field } from "../pipeline/settings/mod.ts";
import type { FoundDocument } from "../pipeline/stages/mod.ts";
import type { ShownRow } from "../pipeline/text/mod.ts";
import { defineTask } from "./cli/command.ts";
import { counted, forOutput, shortSourceName } from "./cli/layout.ts";

/** Name of the tables of documents. */
const DOCUMENTS = "documents.arrow";

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

/** Prints where the documents come from that an id, a path or a pattern names. */
async function showNamed([place, second]: string[], named: string, print: Print): Promise<void> {
  ensure(!second, `Cannot show a document as one run must be named: "${second}" is a second one`);
  const subject = /^\d+$/.test(named) ? `document ${named}` : `documents of "${named}"`;
  const run = await findRun(place);
  ensure(run !== null, `Cannot show ${subject} as a run must be named: "${place}" lies in none`);
  const { findDocuments } = await import("../pipeline/stages/documents.ts");
  const shown = await printDocuments(findDocuments(run, named), print);
  const table = `${run}/partition/documents.arrow`;
  ensure(shown > 0, `Cannot show ${subject} as the run must have such: "${run}" has none`, {
    remedy: say`${task("show")} "${table}" lists what it has`,
  });
}

/** How rows are printed: as JSON or in words, and how many at most. */
interface Print {
  json: boolean;
  limit: number;
  onWarning(message: string): void;
}

/** Prints documents, a line each, and gives how many. */
async function printDocuments(
  documents: AsyncIterable<FoundDocument>,
  { json, limit, onWarning }: Print,
): Promise<number> {
  let shown = 0;
  for await (const document of documents) {
    if (shown === limit) {
      onWarning(`only ${limit} are shown: there are more, set --limit`);
      break;
    }
    shown++;
    console.log(forOutput(json ? JSON.stringify(document) : documentText(document)));
  }
  return shown;
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
    document: field.text(
      { value: "ID|PATH" },
      "print of each such document of a run its id, side and expert; the path may be a pattern",
    ),
    tokenizer: field.path(
      { value: "FILE" },
      "the tokenizer.json that made the rows, or its folder; without it that of their run",
    ),
  },
  run: async ({ paths, options, onWarning }) => {
    ensure(paths.length > 0, "Cannot show rows as a shard must be named: none is");
    const { document, json, limit, tokenizer: named } = options;
    if (document !== undefined) {
      return await showNamed(paths, document, { json, limit, onWarning });
    }
    const { loadTokenizer, showRows } = await import("../pipeline/text/mod.ts");
    let left = limit;
    for (const path of paths) {
      if (basename(path) === DOCUMENTS) {
        await verifyFile(path);
        const { listDocuments } = await import("../pipeline/stages/documents.ts");
        left -= await printDocuments(listDocuments(path), { json, limit: left, onWarning });
        continue;
      }
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
        console.log(forOutput(json ? JSON.stringify(row) : rowText(row)));
      }
    }
  },
}, import.meta);
