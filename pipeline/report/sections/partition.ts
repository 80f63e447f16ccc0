/**
 * The section of a report on the parts of the text.
 *
 * @module
 */

import { ASSIGNMENTS } from "../../partition/assignment/assignments.ts";
import { foldedTable, markup, percent, type Table } from "../html.ts";
import { heatPlot, sharePlot } from "../plots_routing.ts";
import type { RunRecord } from "../read.ts";
import type { Section } from "../section.ts";
import { type Lacks, plural, rounded } from "./words.ts";

/** Writes the section: the size of every part, and how parts and sources agree. */
export function partitionSection({ partition }: RunRecord, lacks: Lacks): Section {
  const section = { id: "partition", title: "Partition" };
  if (!partition) return { ...section, lead: [lacks("The partition", "partition")] };
  const { whole, parts } = partition;
  const { sequences, tokenImbalance, nmi, regret } = whole.train;
  const loads: Table = {
    head: ["expert", "sequences", "tokens", "held-out sequences", "held-out tokens"],
    rows: parts.map(({ expert, train, test }) => [
      ...[expert, train.sequences, train.tokens],
      ...[test?.sequences ?? null, test?.tokens ?? null],
    ]),
  };
  const after = [foldedTable(loads, "Loads of the experts", "Loads")];
  const trained = plural(sequences, "training sequence");
  if (whole.experts === 1) {
    const lead =
      markup`<p>${trained}, all for the one expert; shares and sources by expert are left out.</p>`;
    return { ...section, lead: [lead], after };
  }
  const { costs, method = "" } = whole.lineage;
  const balanced = ASSIGNMENTS.get(method)?.balanced ?? false;
  const balance = costs === undefined
    ? `balance costs ${rounded(regret ?? 0, 4)} nats per prefix token`
    : `balance adds ${rounded(regret ?? 0, 4)} to the mean cost of a sequence`;
  const sources = new Set(parts.flatMap(({ train }) => Object.keys(train.sources)));
  return {
    ...section,
    lead: [
      markup`<p>${trained} in ${
        balanced ? "equal" : whole.experts
      } parts, one for each expert. The largest part has ${
        percent(tokenImbalance)
      } more tokens than the mean; ${
        nmi === null
          ? "the text has no two sources to compare experts with, so that no plot shows them"
          : `NMI of expert and source is ${rounded(nmi, 3)}`
      }${balanced && regret !== null ? `, and ${balance}` : null}.</p>`,
    ],
    plots: [sharePlot(whole, balanced), ...(sources.size > 1 ? [heatPlot(parts, balanced)] : [])],
    after,
  };
}
