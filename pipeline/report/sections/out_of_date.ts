/**
 * The section of a report that names what is no longer of the run as it is: stages that other settings, inputs or revisions would make
 * anew, and damaged ones.
 *
 * @module
 */

import { type Words, wordText } from "../../../kernels/errors.ts";
import { type Lack, stagesText } from "../../stages/status.ts";
import { htmlTable, markup, type Table, unbroken } from "../html.ts";
import type { Section } from "../section.ts";

/** Writes stages that a run lacks as the cells of a row: their names, their state, and the task that makes them. */
export function lackCells(lack: Lack, words?: Words): Table["rows"][number] {
  return [
    stagesText(lack),
    lack.state,
    markup`<code>${unbroken(wordText([lack.command], words))}</code>`,
  ];
}

/** Writes the section; none where all is up to date. */
export function outOfDateSection(lacks: readonly Lack[], words?: Words): Section[] {
  if (lacks.length === 0) return [];
  const table: Table = {
    head: ["stage", "it is", "made by", "why"],
    rows: lacks.map((lack) => [
      ...lackCells(lack, words),
      lack.because === undefined ? null : wordText(lack.because, words),
    ]),
  };
  return [{
    id: "out-of-date",
    title: "What is not up to date",
    lead: [
      markup`<p>What this page tells of these stages is not of the run as it is now.</p>\n`,
      htmlTable(table, "Stages that are not up to date"),
    ],
  }];
}
