// Claims of the paper next to the figures of a run.

import { foldedTable, type Html, htmlTable, markup, percent } from "../html.ts";
import type { Section } from "../page.ts";
import type { RunRecord } from "../read.ts";
import type { Claim } from "../reproduction.ts";

const VERDICTS = {
  null: markup`<span class="open">–</span>`,
  true: markup`<span class="yes">✓ holds</span>`,
  false: markup`<span class="no">✗ does not</span>`,
};

/** Writes claims as a table, with what became of each. */
export function claimsTable(claims: readonly Claim[]): Html {
  const rows = claims.map(({ claim, paper, here, holds }) => [claim, paper, here, VERDICTS[`${holds}`]]);
  return htmlTable({ head: ["claim", "paper", "here", "holds"], rows, look: "claims" }, "Claims");
}

/** Every claim with what became of it, and the learning rates that were tried. */
export const claims: Section<RunRecord> = {
  id: "claims",
  title: "The paper's claims, and this run",
  parts: ({ reproduction }) => {
    if (reproduction === null) return null;
    const { claims, search, trialShare } = reproduction;
    const rows = Object.entries(search).flatMap(([model, { trials, rate: best }]) =>
      trials.toSorted((a, b) => a.rate - b.rate).map(({ rate, validationLoss: loss }) => [
        ...[model, rate, loss === Infinity ? "diverged" : loss, rate === best ? "taken" : null],
      ])
    );
    const head = ["model", "learning rate", "held-out loss, nats per token", ""];
    const tried = "Learning rates that were tried";
    return [
      claimsTable(claims),
      foldedTable({ head, rows }, tried, `${tried} on ${percent(trialShare)} of the training`),
    ];
  },
};
