// Writes HTML: whatever is put into a template is escaped, unless it is HTML already.

import { numberText } from "../graph/numbers.ts";
import { printable } from "../graph/printable.ts";

/** Holds text that is HTML. */
export class Html {
  /** Takes text that must be well-formed HTML. */
  constructor(readonly text: string) {}
}

/** The values that a template takes; `null`, `undefined` and `false` write nothing. */
export type Content = Html | string | number | false | null | undefined | readonly Content[];

/** Writes HTML from a template, its values escaped. */
export function markup(strings: TemplateStringsArray, ...values: Content[]): Html {
  return new Html(
    strings.map((text, i) => i === 0 ? text : contentText(values[i - 1]) + text).join(""),
  );
}

function contentText(content: Content): string {
  if (content === null || content === undefined || content === false) return "";
  if (content instanceof Html) return content.text;
  if (typeof content === "object") return content.map(contentText).join("");
  return escapeHtml(String(content));
}

const ENTITIES: Record<string, string> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

/** Escapes text for content and quoted attributes of HTML and XML, and makes it printable. */
export function escapeHtml(text: string): string {
  return printable(text).replace(/[&<>"']/g, (character) => ENTITIES[character]);
}

const LONGEST_UNBROKEN = 32;

/**
 * Writes text in which words with a hyphen, such as flags, do not break across lines unless they
 * are too long for one.
 */
export function unbroken(text: string): Html {
  const words = text.split(/(\S*-\S*)/).map((word, i) =>
    i % 2 === 1 && word.length <= LONGEST_UNBROKEN
      ? markup`<span class="word">${word}</span>`
      : word
  );
  return markup`${words}`;
}

/**
 * Holds a table: headings of columns, and rows, in which a number is written as `number` does,
 * `null` as an empty cell.
 */
export interface Table {
  head: string[];
  rows: (string | number | Html | null)[][];
  look?: string; // name of its style, if it has one of its own
}

/**
 * Writes a table. Columns of numbers are aligned right; a table that is too wide scrolls on its
 * own.
 */
export function htmlTable({ head, rows, look }: Table, label: string): Html {
  const numeric = head.map((_, column) => rows.some((row) => typeof row[column] === "number"));
  const side = (column: number) => numeric[column] ? new Html(' class="n"') : null;
  const headings = head.map((text, i) => markup`<th scope="col"${side(i)}>${text}</th>`);
  const cells = (row: Table["rows"][number]) =>
    row.map((cell, i) =>
      markup`<td${side(i)}>${typeof cell === "number" ? numberText(cell) : cell}</td>`
    );
  const style = look && markup` class="${look}"`;
  return markup`<div class="scroll" role="region" aria-label="${label}" tabindex="0"><table${style}>
<thead><tr>${headings}</tr></thead>
<tbody>
${rows.map((row) => markup`<tr>${cells(row)}</tr>\n`)}</tbody>
</table></div>\n`;
}

/** Writes a table that opens at a click on its summary. */
export function foldedTable(table: Table, label: string, summary: Content = label): Html {
  return markup`<details><summary>${summary}</summary>${htmlTable(table, label)}</details>`;
}

/** Writes a number of things, such as `3 layers`. */
export const plural = (count: number, singular: string): string =>
  `${numberText(count)} ${singular}${count === 1 ? "" : "s"}`;

/** Writes the value of a setting. */
export const valueText = (value: unknown): string => [value].flat().join(", ") || "none";

/** Names a source by its label. */
export const sourceName = (label: string): string =>
  label === "" ? "(no source)" : printable(label);
