/**
 * Shows on standard error what a run is doing: a bar with rate and time left on a terminal, a line every few seconds
 * elsewhere.
 *
 * @module
 */

// @ts-types="@types/cli-progress"
import { Format, SingleBar } from "cli-progress";
import type { RunEvent } from "../mod.ts";
import { worded } from "./wording.ts";

const LINE_EVERY_MS = 5000;

/** Shows events until `stop` is called. */
export interface Progress {
  /** Shows one event. */
  show(event: RunEvent): void;
  /** Clears the bar. */
  stop(): void;
}

/** Starts to show progress on standard error. */
export function startProgress(): Progress {
  const bar = Deno.stderr.isTerminal() ? makeBar() : null;
  let stage = "";
  let started = 0;
  let spoken = 0;
  let first = 0; // what was done when the stage was first heard of

  const stop = () => bar?.stop();
  const line = (text: string) => {
    stop();
    stage = "";
    console.error(text);
  };
  function tick(event: RunEvent & { type: "progress" }): void {
    const now = performance.now();
    if (event.stage !== stage) {
      stop();
      stage = event.stage;
      started = spoken = now;
      bar?.start(event.total ?? 0, event.done, { stage, unit: event.unit, note: "" });
      first = event.done;
    }
    bar?.update(event.done, { note: event.note ?? "" });
    if (!bar && now - spoken >= LINE_EVERY_MS) {
      spoken = now;
      console.error(progressLine(event, event.done - first, (now - started) / 1000));
    }
  }
  return { show: (event) => event.type === "progress" ? tick(event) : line(eventLine(event)), stop };
}

function makeBar(): SingleBar {
  return new SingleBar({
    format: (options, params, payload) => {
      const filled = Format.BarFormat(params.progress, options);
      const rate = (params.value / Math.max(1e-3, (Date.now() - params.startTime) / 1000)).toFixed(1);
      const left = params.total > 0 ? `, ${params.eta} s left` : "";
      const note = payload.note && `, ${payload.note}`;
      return `${
        payload.stage.padEnd(14)
      } ${filled} ${params.value} ${payload.unit} (${rate}/s${left})${note}`;
    },
    clearOnComplete: true,
    hideCursor: true,
  });
}

function progressLine(
  { stage, done, total, unit, note }: RunEvent & { type: "progress" },
  advanced: number,
  seconds: number,
): string {
  const of = total ? ` of ${total}` : "";
  const rate = advanced / Math.max(1e-3, seconds);
  const left = total && advanced > 0 ? `, ${Math.ceil((total - done) / rate)} s left` : "";
  return `${stage.padEnd(14)} ${done}${of} ${unit} (${rate.toFixed(1)}/s${left})${note ? `, ${note}` : ""}`;
}

function eventLine(event: Exclude<RunEvent, { type: "progress" }>): string {
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
      const seconds = event.seconds === undefined ? "" : ` (${event.seconds.toFixed(1)} s)`;
      return `${event.stage.padEnd(14)} ${event.state}${text && `: ${text}`}${seconds}`;
    }
  }
}

function counted(count: number, unit: string): string {
  return `${count.toLocaleString("en")} ${count === 1 ? unit.replace(/ies$/, "y").replace(/s$/, "") : unit}`;
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

function roundLine(event: RunEvent & { type: "round" }): string {
  const percent = event.shares.map((share) => `${(100 * share).toFixed(0)}%`).join(" ");
  return `  round ${String(event.round).padStart(2)} of ${event.rounds}  NLL ${
    event.nllPerToken.toFixed(4)
  } per token  ` +
    `shares ${percent}  regret ${event.regret.toFixed(4)}` +
    (event.nmi === null ? "" : `  NMI ${event.nmi.toFixed(3)}`);
}
