/**
 * Words the events of a run, a line each, except how far a stage is.
 *
 * @module
 */

import { duration, type RunEvent } from "../pipeline/run/mod.ts";
import { counted, leading } from "./layout.ts";
import { worded } from "./wording.ts";

/** Words an event. */
export function eventLine(event: Exclude<RunEvent, { type: "progress" | "checkpoint" }>): string {
  switch (event.type) {
    case "adapter":
      return `${leading("adapter")} ${event.adapter}${event.kind === "software" ? " (in software)" : ""}`;
    case "warning":
      return `warning: ${worded(event.message)}`;
    case "round":
      return roundLine(event);
    case "stage": {
      const counts = Object.entries(COUNTS).filter(([name]) => event.result?.[name] !== undefined);
      const text = counts.map(([name, unit]) => counted(Number(event.result![name]), unit)).join(", ");
      const seconds = event.seconds === undefined ? "" : ` (${duration(event.seconds)})`;
      const from = event.from ? ` from ${event.from.join(", ")}` : "";
      return `${leading(event.stage)} ${event.state}${from}${text && `: ${text}`}${seconds}`;
    }
  }
}

/** The counts that are shown of the result of a stage. */
const COUNTS: Record<string, string> = {
  ...{ files: "files", documents: "documents", entries: "entries", tokens: "tokens" },
  ...{ trainSequences: "training sequences", testSequences: "held-out sequences", sequences: "sequences" },
  ...{ questions: "questions", steps: "steps" },
};

/** Up to so many routers, the share of each is shown. */
const MOST_SHARES = 16;

function roundLine({ round, rounds, shares, nmi, ...event }: RunEvent & { type: "round" }): string {
  const [nll, regret] = [event.nllPerToken.toFixed(4), event.regret.toFixed(4)];
  const written = (shares: number[]) => shares.map((share) => `${(100 * share).toFixed(0)}%`);
  const percent = shares.length > MOST_SHARES
    ? written([Math.min(...shares), Math.max(...shares)]).join(" to ")
    : written(shares).join(" ");
  const line = `  round ${String(round).padStart(2)} of ${rounds}  NLL ${nll} per token`;
  return `${line}  shares ${percent}  regret ${regret}${nmi === null ? "" : `  NMI ${nmi.toFixed(3)}`}`;
}
