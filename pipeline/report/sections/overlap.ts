// Duplicates of documents, and passages of held-out ones in training text.

import { overlapLine, overlapTables } from "../../stages/overlap.ts";
import { foldedTable, htmlTable, markup } from "../html.ts";
import type { Section } from "../page.ts";
import type { RunRecord } from "../read.ts";

/** What documents have in common, where somebody has looked for that. */
export const overlap: Section<RunRecord> = {
  id: "overlap",
  title: "Duplicates and leaks",
  when: ({ overlap }) => overlap !== null,
  text: ({ overlap }) => {
    const [bySource, ...others] = overlapTables(overlap!);
    return markup`<p>Compared by runs of words: ${overlapLine(overlap!)}.</p>${
      htmlTable(bySource, bySource.title)
    }${others.map((table) => foldedTable(table, table.title))}`;
  },
};
