// Duplicates of documents, and passages of held-out ones in training text.

import { overlapSentence, overlapTables } from "../../stages/overlap_result.ts";
import { foldedTable, htmlTable, markup, percent } from "../html.ts";
import type { Section } from "../page.ts";
import type { RunRecord } from "../read.ts";

/** What documents have in common, where somebody has looked for that. */
export const overlap: Section<RunRecord> = {
  id: "overlap",
  title: "Duplicates and leaks",
  when: ({ overlap }) => overlap !== null,
  text: ({ overlap }) => {
    const [bySource, byExpert] = overlapTables(overlap!, (source) => source || "(none)");
    const rows = overlap!.examples.map(({ kind, share, one, other }) => [
      ...[`${kind} ${percent(share)}`, `${one.path}:${one.place}`, one.text],
      ...[`${other.path}:${other.place}`, other.text],
    ]);
    const examples = { head: ["", "document", "text", "other", "text"], rows };
    return markup`<p>Compared by runs of words: ${overlapSentence(overlap!)}.</p>${
      htmlTable(bySource, "By source")
    }${foldedTable(byExpert, "By expert")}${foldedTable(examples, "Examples")}`;
  },
};
