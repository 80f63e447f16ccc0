// Stages that are no longer of the run as it is: other settings, inputs or revisions would make them anew,
// or they are damaged.

import { type Words, wordText } from "../../../kernels/errors.ts";
import { type Lack, stagesText } from "../../stages/status.ts";
import { htmlTable, markup, type Table, unbroken } from "../html.ts";
import type { Section } from "../page.ts";

/** Writes stages that a run lacks as the cells of a row: their names, their state, and the task that makes them. */
function lackCells(lack: Lack, words?: Words): Table["rows"][number] {
  const command = markup`<code>${unbroken(wordText([lack.command], words))}</code>`;
  return [stagesText(lack), lack.state, command];
}

/** What of a run is not up to date, and why. */
export const outOfDate: Section<{ outOfDate: readonly Lack[]; words?: Words }> = {
  id: "out-of-date",
  title: "What is not up to date",
  when: ({ outOfDate }) => outOfDate.length > 0,
  text: ({ outOfDate, words }) => {
    const rows = outOfDate.map((lack) => [
      ...lackCells(lack, words),
      lack.because === undefined ? null : wordText(lack.because, words),
    ]);
    const table = htmlTable(
      { head: ["stage", "it is", "made by", "why"], rows },
      "Stages that are not up to date",
    );
    return markup`<p>What this page says of these stages is not of the run as it is now.</p>\n${table}`;
  },
};
