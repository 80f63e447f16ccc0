/**
 * Lays out the help of a task: the flags that most need, or all of them.
 *
 * @module
 */

import type { Field, Fields } from "../pipeline/settings/mod.ts";
import { wrapped } from "./layout.ts";
import { worded } from "./wording.ts";

/** Width of the column of flags. A longer flag stands on a line of its own. */
const LEFT = 30;

/** Up to so many flags are shown whole. */
const FEW = 12;

/** The flags that most need, by the names of their fields; the others stand under `--help all`. */
const OFTEN = new Set(
  `input textField sourceField corpus maxDocuments vocabularySize sequenceLength experts prefix rounds
  expertHidden expertLayers expertHeads expertBatch expertRate expertSteps expertEpochs expert match run preset
  force resume dryRun part requireGpu seed json HELP output
  trained mix fallback prompt model maxNewTokens temperature topK host port apiKeyFile memory task data fewShot limit
  executor jobs parts dense slurmPartition time gres study seeds only paper cluster
  from add newExpert forget forgetSource forgetIds replaceExpert`.split(/\s+/),
);

/** What of a task its help shows, and how wide. */
export interface HelpOptions {
  /** Whether all flags are shown. */
  all?: boolean;
  /** Width of the terminal. Without it, as in a pipe, a flag takes one line. */
  columns?: number;
}

/** Lays out a help: the usage, what the task does, its flags under their headings. */
export function helpText(
  usage: string,
  about: string,
  table: Fields,
  { all = false, columns = Infinity }: HelpOptions = {},
): string {
  const fields = Object.values(table);
  const shown = all || fields.length <= FEW ? fields : fields.filter(({ name }) => OFTEN.has(name));
  const sections = Map.groupBy(shown, ({ section }) => section);
  const more = fields.length - shown.length;
  return [
    usage,
    wrapped(about, "", columns),
    ...Array.from(sections, ([title, fields]) => [title, ...fields.map((f) => line(f, columns))].join("\n")),
    ...more > 0 ? [`${more} more flags: --help all`] : [],
    "A value that begins with a dash follows =, as in --flag=-VALUE.",
  ].join("\n\n");
}

function line({ flag, value, help, default: standard = "" }: Field, columns: number): string {
  const left = `  --${flag} ${value}`.trimEnd();
  const isShown = Array.isArray(standard) || ["string", "number"].includes(typeof standard);
  const shown = isShown && String(standard) !== "" ? ` (default ${standard})` : "";
  const indent = " ".repeat(LEFT + 1);
  const begin = left.length > LEFT ? `${left}\n${indent}` : `${left.padEnd(LEFT)} `;
  return begin + wrapped(`${worded(help)}${shown}`, indent, columns);
}
