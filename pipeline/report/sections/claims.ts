/**
 * The section of a report that puts the paper's claims beside the figures of the run.
 *
 * @module
 */

import { foldedTable, type Html, htmlTable, markup, percent, type Table } from "../html.ts";
import type { Claim, Claims } from "../reproduction.ts";
import type { Section } from "../section.ts";

/** Writes claims as a table, with what became of each. */
export function claimsTable(claims: readonly Claim[]): Html {
  const verdict = (holds: boolean | null) =>
    holds === null
      ? markup`<span class="open">–</span>`
      : holds
      ? markup`<span class="yes">✓ holds</span>`
      : markup`<span class="no">✗ does not</span>`;
  const table: Table = {
    head: ["claim", "paper", "here", "holds"],
    rows: claims.map(({ claim, paper, here, holds }) => [claim, paper, here, verdict(holds)]),
    look: "claims",
  };
  return htmlTable(table, "Claims");
}

/** Writes the section: every claim with what became of it, and the learning rates that were tried. */
export function claimsSection({ claims, search, trialShare }: Claims): Section {
  const trials: Table = {
    head: ["model", "learning rate", "held-out loss, nats per token", ""],
    rows: Object.entries(search).flatMap(([model, found]) =>
      found.trials.toSorted((a, b) => a.rate - b.rate).map((
        { rate, validationLoss: loss },
      ) => [model, rate, loss === Infinity ? "diverged" : loss, rate === found.rate ? "taken" : null])
    ),
  };
  const tried = "Learning rates that were tried";
  return {
    id: "claims",
    title: "The paper's claims, and this run",
    lead: [
      claimsTable(claims),
      markup`${foldedTable(trials, tried, `${tried} on ${percent(trialShare)} of the training`)}\n`,
    ],
  };
}
