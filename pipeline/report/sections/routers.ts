/**
 * The section of a report on the routers: what their rounds of training came to.
 *
 * @module
 */

import { PARTITIONERS } from "../../partition/partitioners.ts";
import { markup, number } from "../html.ts";
import { roundPlots } from "../plots_routing.ts";
import type { RunRecord } from "../read.ts";
import type { Section } from "../section.ts";
import { type Lacks, plural, rounded } from "./words.ts";

/** Writes the section: a curve per figure of the rounds. */
export function routersSection({ rounds, config }: RunRecord, lacks: Lacks): Section {
  const section = {
    id: "rounds",
    title: `Routers, ${config.configuration.fixed ? "of clusters that stay" : "by expectation maximisation"}`,
  };
  const last = rounds.at(-1);
  if (!last) {
    const { routers, partitioner } = config.configuration;
    const kind = PARTITIONERS.get(partitioner);
    const lead = routers === "" && kind && !kind.models
      ? markup`<p>The parts are those of <code>${kind.kind}</code>: ${kind.about}. There are no rounds.</p>`
      : routers === ""
      ? lacks("The record of router training", "train-routers")
      : markup`<p>The routers were taken from <code>${routers}</code>; their rounds are recorded there.</p>`;
    return { ...section, lead: [lead] };
  }
  const { fixed } = config.configuration;
  const trained = plural(rounds.length, "round");
  const nll = number(last.nllPerToken);
  const lead = last.shares.length === 1
    ? markup`<p>One router trained in ${trained}; after the last one a prefix token costs ${nll} nats. With one
router there is nothing to route: shares, agreement with sources and the cost of balance are left out.</p>`
    : markup`<p>In each of ${trained} every router trained on ${
      fixed
        ? "the sequences of one cluster, as the clusters stay"
        : "the sequences that it predicts best, loads kept equal"
    }, and new sequences were scored. After the last one a prefix token costs
${nll} nats${last.nmi === null ? "" : `, and NMI with the sources is ${rounded(last.nmi, 3)}`}.</p>`;
  return { ...section, lead: [lead], plots: roundPlots(rounds, fixed) };
}
