/**
 * Lays out what tasks print for a person to read: tables, numbers, sizes and durations.
 *
 * @module
 */

import { countText, percent, printable, printableLines } from "../../pipeline/graph/mod.ts";

/**
 * Lays rows out in columns under a head such as `model | tokens | sources`, a list of such titles,
 * or none. Rows that are false are left out. The first and the last column, and those that `texts`
 * names, are aligned left, the others right.
 */
export function table(
  head: string | readonly string[] | null,
  rows: readonly ((string | number)[] | false)[],
  texts: string[] = [],
): string {
  const titles = typeof head === "string"
    ? head.split("|").map((title) => title.trim())
    : head ?? [];
  const shown = rows.filter((row) => row !== false);
  const written = shown.map((row) =>
    row.map((cell) => typeof cell === "number" ? countText(cell) : cell)
  );
  const all = [...head === null ? [] : [[...titles]], ...written];
  const last = all[0].length - 1;
  const widths = all[0].map((_, column) =>
    all.reduce((most, row) => Math.max(most, row[column].length), 0)
  );
  const isLeft = (i: number) => i === 0 || i === last || texts.includes(titles[i]);
  const line = (row: string[]) =>
    row.map((cell, i) => isLeft(i) ? cell.padEnd(widths[i]) : cell.padStart(widths[i])).join("  ")
      .trimEnd();
  return all.map(line).join("\n");
}

/**
 * Breaks a text between words so that it fits in so many columns, behind an indent from the second
 * line on.
 */
export function wrapped(text: string, indent = "", columns = 80): string {
  const lines = [""];
  for (const word of text.split(" ")) {
    const longer = `${lines.at(-1)} ${word}`.trimStart();
    if (indent.length + longer.length > columns && lines.at(-1) !== "") lines.push(word);
    else lines[lines.length - 1] = longer;
  }
  return lines.join(`\n${indent}`);
}

/**
 * Lays out a table as {@linkcode table} does, and below it, a little to the right, what explains
 * it.
 */
export function tableWithNote(
  head: string | readonly string[],
  rows: Parameters<typeof table>[1],
  note: string,
): string {
  return `${table(head, rows)}\n  ${wrapped(note, "  ")}`;
}

/** What may be there or not: a text, or several. */
type Part = string | readonly string[] | false | null | undefined;

const joined = (between: string) => (...parts: Part[]) =>
  parts.flat().filter(Boolean).join(between);

/** Joins lines, and lists of lines, without those that there are not. */
export const lines = joined("\n");

/** Joins blocks of lines by a blank line, without those that there are not. */
export const blocks = joined("\n\n");

/**
 * Longest label of a source that is printed whole, in characters, and how many of its end are
 * printed otherwise.
 */
const [MOST_LABEL, LABEL_END] = [40, 15];

/**
 * Names a source by its label, which may be any text: on one line, not too long, and without what a
 * terminal obeys.
 */
export function shortSourceName(label: string): string {
  const characters = [...printable(label)];
  if (characters.length === 0) return "(none)";
  if (characters.length > MOST_LABEL) {
    characters.splice(MOST_LABEL - LABEL_END - 1, characters.length - MOST_LABEL + 1, "…");
  }
  return characters.join("");
}

/**
 * Writes the name at the beginning of a line, such as that of a stage, padded so that lines align.
 */
export function leading(name: string): string {
  return name.padEnd(14);
}

/** Writes a number of things that are named in the plural, such as "1 entry" of "entries". */
export function counted(number: number, unit: string): string {
  return `${countText(number)} ${
    number === 1 ? unit.replace(/ies$/, "y").replace(/s$/, "") : unit
  }`;
}

/**
 * Reports that a device reached more than was measured as its most, as where it was busy when that
 * was measured.
 */
export const PEAK_TOO_LOW = "the peak was measured too low: run deno task doctor again";

/** Writes the share of a device's peak that is reached, unless the peak was measured too low. */
export function peakText(share: number): string {
  return share > 1 ? PEAK_TOO_LOW : `${percent(share)} of the peak`;
}

/**
 * Shortens lists of names that end in numbers, or are numbers: `expert-00 … 05, 09, dense`,
 * `0 … 2, 7`.
 */
export function ranges(names: readonly string[]): string {
  const parts: { first: string; last: string }[] = [];
  const number = (name: string) => Number(/(\d+)$/.exec(name)?.[1] ?? NaN);
  const start = (name: string) => name.replace(/\d+$/, "");
  for (const name of names) {
    const previous = parts.at(-1);
    const follows = previous && start(previous.last) === start(name) &&
      number(name) === number(previous.last) + 1;
    if (follows) previous.last = name;
    else parts.push({ first: name, last: name });
  }
  let said = "";
  return parts.map(({ first, last }) => {
    const begin = start(first) === said ? first.slice(said.length) : first;
    said = Number.isNaN(number(first)) ? "" : start(first);
    return first === last ? begin : `${begin} … ${last.slice(start(last).length)}`;
  }).join(", ");
}

/** Writes a perplexity, which may be huge or missing. */
export function perplexity(value: number | null | undefined): string {
  if (value === null || value === undefined) return "-";
  return value < 1000 ? value.toFixed(2) : value.toPrecision(4);
}

/** Writes an interval of perplexities. */
export function interval(low: number, high: number): string {
  return `${perplexity(low)} to ${perplexity(high)}`;
}

/**
 * Gives text of others as it goes to standard output: to a terminal nothing that it obeys but line
 * breaks and tabs, to files and pipes as it is.
 */
export function forOutput(text: string, isTerminal: boolean = Deno.stdout.isTerminal()): string {
  return isTerminal ? printableLines(text) : text;
}
