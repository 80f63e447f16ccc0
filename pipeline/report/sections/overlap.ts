// Duplicates of documents, and passages of held-out ones in training text.

import type { Overlap } from "../../stages/overlap_result.ts";
import { foldedTable, htmlTable, markup, number, percent } from "../html.ts";
import type { Section } from "../page.ts";
import type { RunRecord } from "../read.ts";

const HEAD = [
  "documents",
  "copies",
  "near-duplicates",
  "apart",
  "held out",
  "twins",
  "with a passage",
  "words in passages",
];

const rows = (tallies: Overlap["sources"], name = (key: string) => key) =>
  Object.entries(tallies).map((
    [key, { documents, copies, near, apart, heldOut, twins, leaking, words, covered }],
  ) => [
    ...[name(key), documents, copies, near, apart, heldOut, twins, leaking],
    words === 0 ? "–" : percent(covered / words),
  ]);

/** What documents have in common, where somebody has looked for that. */
export const overlap: Section<RunRecord> = {
  id: "overlap",
  title: "Duplicates and leaks",
  when: ({ overlap }) => overlap !== null,
  text: ({ overlap }) => {
    const { all, sources, experts, examples } = overlap!;
    const sourceRows = [...rows(sources, (key) => key || "(none)"), ...rows({ all })];
    const shown = examples.map(({ kind, share, one, other }) => [
      ...[
        `${kind} ${percent(share)}`,
        `${one.path}:${one.place}`,
        one.text,
        `${other.path}:${other.place}`,
        other.text,
      ],
    ]);
    return markup`<p>Of ${number(all.documents)} training documents ${
      number(all.copies)
    } equal an earlier one and ${
      number(all.near)
    } more nearly do (Jaccard index of runs of five words at least 0.8); of these another expert has ${
      number(all.apart)
    }. Of ${number(all.heldOut)} held-out documents ${
      number(all.twins)
    } are nearly equal to a training document, and ${
      number(all.leaking)
    } share 13 words in a row with one.</p>${
      htmlTable({ head: ["source", ...HEAD], rows: sourceRows }, "By source")
    }${foldedTable({ head: ["expert", ...HEAD], rows: rows(experts) }, "By expert")}${
      shown.length > 0 &&
      foldedTable({ head: ["", "document", "text", "other", "text"], rows: shown }, "Examples")
    }`;
  },
};
