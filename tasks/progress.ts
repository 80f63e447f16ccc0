/**
 * Shows on standard error what a run is doing: a bar with rate and time left on a terminal, a line every few seconds
 * elsewhere.
 *
 * @module
 */

// @ts-types="@types/cli-progress"
import { Format, type GenericFormatter, SingleBar } from "cli-progress";
import type { RunEvent } from "../mod.ts";
import { count, duration } from "./layout.ts";
import { worded } from "./wording.ts";

const LINE_EVERY_MS = 5000;

/** Shows events until `stop` is called. */
export interface Progress {
  /** Shows one event. */
  show(event: Shown): void;
  /** Clears the bar. */
  stop(): void;
}

type Shown = Exclude<RunEvent, { type: "checkpoint" }>;
type Step = RunEvent & { type: "progress" };

/** Starts to show progress on standard error. */
export function startProgress(): Progress {
  let stage = "";
  let started = 0;
  let spoken = 0;
  let first = 0; // what was done when the stage was first heard of

  const text = ({ stage, done, total, unit, ...event }: Step, filled = "") => {
    const of = total ? ` of ${total}` : "";
    const rate = (done - first) / Math.max(1e-3, (performance.now() - started) / 1000);
    const left = total && rate > 0 ? `, ${duration(Math.ceil((total - done) / rate))} left` : "";
    const note = event.note ? `, ${event.note}` : "";
    return `${stage.padEnd(14)} ${filled}${done}${of} ${unit} (${rate.toFixed(1)}/s${left})${note}`;
  };
  const format: GenericFormatter = (options, { progress }, { event }) =>
    text(event, `${Format.BarFormat(progress, options)} `);
  const bar = Deno.stderr.isTerminal()
    ? new SingleBar({ format, clearOnComplete: true, hideCursor: true })
    : null;
  const stop = () => bar?.stop();
  const line = (text: string) => {
    stop();
    stage = "";
    console.error(text);
  };
  function tick(event: Step): void {
    const now = performance.now();
    if (event.stage !== stage) {
      stop();
      stage = event.stage;
      started = spoken = now;
      first = event.done;
      bar?.start(event.total ?? 0, event.done, { event });
    }
    bar?.update(event.done, { event });
    if (!bar && now - spoken >= LINE_EVERY_MS) {
      spoken = now;
      console.error(text(event));
    }
  }
  return { show: (event) => event.type === "progress" ? tick(event) : line(eventLine(event)), stop };
}

function eventLine(event: Exclude<Shown, { type: "progress" }>): string {
  switch (event.type) {
    case "adapter":
      return `adapter        ${event.adapter}${event.kind === "software" ? " (in software)" : ""}`;
    case "warning":
      return `warning: ${worded(event.message)}`;
    case "round":
      return roundLine(event);
    case "stage": {
      const counts = Object.entries(COUNTS).filter(([name]) => event.result?.[name] !== undefined);
      const text = counts.map(([name, unit]) => counted(Number(event.result![name]), unit)).join(", ");
      const seconds = event.seconds === undefined ? "" : ` (${duration(event.seconds)})`;
      return `${event.stage.padEnd(14)} ${event.state}${event.by ? ` by ${event.by}` : ""}${
        text && `: ${text}`
      }${seconds}`;
    }
  }
}

function counted(number: number, unit: string): string {
  return `${count(number)} ${number === 1 ? unit.replace(/ies$/, "y").replace(/s$/, "") : unit}`;
}

/** What is told of a stage's result. */
const COUNTS: Record<string, string> = {
  files: "files",
  documents: "documents",
  entries: "entries",
  tokens: "tokens",
  trainSequences: "training sequences",
  testSequences: "held-out sequences",
  sequences: "sequences",
  steps: "steps",
};

function roundLine({ round, rounds, shares, nmi, ...event }: RunEvent & { type: "round" }): string {
  const [nll, regret] = [event.nllPerToken.toFixed(4), event.regret.toFixed(4)];
  const percent = shares.map((share) => `${(100 * share).toFixed(0)}%`).join(" ");
  const line = `  round ${String(round).padStart(2)} of ${rounds}  NLL ${nll} per token`;
  return `${line}  shares ${percent}  regret ${regret}${nmi === null ? "" : `  NMI ${nmi.toFixed(3)}`}`;
}
