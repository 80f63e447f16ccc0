/**
 * Shows on standard error what a run is doing: a bar with rate and time left on a terminal,
 * elsewhere lines with the time of day, or JSON for machines.
 *
 * @module
 */

import { duration, type RunEvent } from "../../pipeline/graph/mod.ts";
import { countText } from "../../pipeline/graph/numbers.ts";
import { counted, leading, peakText } from "./layout.ts";
import { worded } from "./wording.ts";

const LINE_EVERY_MS = 5000;
const JSON_EVERY_MS = 1000;
const BAR_EVERY_MS = 100;
const BAR_WIDTH = 24;
const CLEAR_LINE = "\r\x1b[K";

/** How progress is written where standard error is no terminal, or everywhere if asked for. */
export type Log = "text" | "json";

type Step = RunEvent & { type: "progress" };
type Reported = Exclude<RunEvent, { type: "progress" | "checkpoint" }>;

/**
 * Starts to show progress on standard error: events and other lines, until `stop` clears the bar.
 */
export function startProgress(log: Log) {
  const paces = new Map<string, Pace>();
  const isBar = log === "text" && Deno.stderr.isTerminal();
  const wait = isBar ? BAR_EVERY_MS : log === "json" ? JSON_EVERY_MS : LINE_EVERY_MS;
  let isDrawn = false;
  const draw = (text: string) => Deno.stderr.writeSync(new TextEncoder().encode(CLEAR_LINE + text));
  const stop = () => {
    if (isDrawn) draw("");
    isDrawn = false;
  };
  const write = (value: Record<string, unknown>, text: string) => {
    stop();
    const time = new Date().toISOString();
    if (log === "json") console.error(JSON.stringify({ time, ...value }));
    else console.error(isBar ? text : `${time.slice(0, 19)}Z ${text}`);
  };
  function tick(event: Step): void {
    const time = performance.now();
    const lastPace = paces.get(event.stage);
    const pace = measurePace(event, lastPace, time);
    paces.set(event.stage, pace);
    const isFirst = isBar && (lastPace === undefined || !isDrawn);
    const isLast = log === "json" && event.done === event.total;
    if (!isFirst && !isLast && time - pace.reported < wait) return;
    pace.reported = time;
    if (!isBar) {
      return write(
        { ...event, perSecond: pace.rate, secondsLeft: pace.left },
        stepText(event, pace),
      );
    }
    draw(stepText(event, pace, Deno.consoleSize().columns));
    isDrawn = true;
  }
  return {
    show(event: Step | Reported) {
      if (event.type === "progress") return tick(event);
      if (event.type === "stage") paces.delete(event.stage);
      const reported = event.type === "warning"
        ? { ...event, message: worded(event.message) }
        : event;
      write(reported, eventLine(event));
    },
    tell(type: "note" | "error", text: string, fields?: Record<string, unknown>) {
      if (log === "json") return write({ type, message: text, ...fields }, text);
      stop();
      console.error(text);
    },
    stop,
  };
}

/**
 * The pace of a stage: how much was done at the first report, by an earlier process or before the
 * clock ran, and since when; how much was done at the last report, and when one was last shown.
 * Times are in milliseconds.
 */
interface Pace extends Record<"first" | "since" | "done" | "reported", number> {
  /** How much is done per second; undefined until enough has been done. */
  rate?: number;
  /** Seconds that are left; undefined where the total is not known. */
  left?: number;
}

/** Milliseconds before a rate means something. */
const QUIET_MS = 1000;

/**
 * Measures the pace of a stage at `now`, in milliseconds. If the stage went back, measuring begins
 * anew.
 */
function measurePace({ done, total }: Step, lastPace: Pace | undefined, time: number): Pace {
  if (lastPace === undefined || done < lastPace.done) {
    return { first: done, since: time, done, reported: time };
  }
  const { first, since } = lastPace;
  const isResolved = time - since >= QUIET_MS && done > first;
  const rate = isResolved ? 1000 * (done - first) / (time - since) : lastPace.rate;
  const left = rate && total !== undefined ? Math.max(0, total - done) / rate : undefined;
  return { ...lastPace, done, rate, left };
}

/**
 * Words how far a stage is; within so many `columns` with a bar, and without what is least
 * important and does not fit.
 */
export function stepText(
  event: Step,
  { rate, left }: Pick<Pace, "rate" | "left">,
  columns = Infinity,
): string {
  const { stage, done, total, unit, loss, learningRate, tokensPerSecond, utilisation } = event;
  const speed = tokensPerSecond
    ? `${countText(tokensPerSecond)} tokens/s`
    : rate && perSecond(rate);
  // Parts with larger weights are left out first.
  const parts: [weight: number, text: string | undefined | 0 | false][] = [
    [0, `${countText(done)}${total ? ` of ${countText(total)}` : ""}`],
    [2, unit && ` ${unit}`],
    [3, speed && `  ${speed}`],
    [4, utilisation !== undefined && `  ${peakText(utilisation)}`],
    [1, left !== undefined && `  ${duration(Math.ceil(left))} left`],
    [0, loss !== undefined && `  loss ${loss.toFixed(3)}`],
    [0, learningRate !== undefined && `  rate ${learningRate.toExponential(1)}`],
  ];
  const name = leading(stage);
  // The last column stays free: some terminals break the line there.
  const room = columns - name.length - 2;
  const within = (most: number) =>
    parts.map(([weight, text]) => weight <= most && text || "").join("");
  const text = within([4, 3, 2, 1].find((most) => within(most).length <= room) ?? 0);
  const size = Math.min(BAR_WIDTH, room - text.length - 2);
  if (columns === Infinity || !total || size < 6) return `${name} ${text.slice(0, room)}`;
  const filled = Math.round(size * Math.min(1, done / total));
  return `${name} ${"█".repeat(filled)}${"░".repeat(size - filled)}  ${text}`;
}

/**
 * Writes a rate of at least one per minute as such, and a smaller one as the time that one takes.
 */
function perSecond(rate: number): string {
  if (rate >= 10) return `${countText(rate)}/s`;
  return rate >= 0.1 ? `${rate.toFixed(1)}/s` : `${duration(1 / rate)} each`;
}

/** The counts that are shown of the result of a stage. */
const COUNTS: Record<string, string> = {
  files: "files",
  documents: "documents",
  entries: "entries",
  tokens: "tokens",
  trainSequences: "training sequences",
  testSequences: "held-out sequences",
  sequences: "sequences",
  questions: "questions",
  steps: "steps",
};

/** Words an event. */
export function eventLine(event: Reported): string {
  switch (event.type) {
    case "adapter":
      return `${leading("adapter")} ${event.adapter}${
        event.kind === "software" ? " (in software)" : ""
      }`;
    case "warning":
      return `warning: ${worded(event.message)}`;
    case "round":
      return roundLine(event);
    case "stage": {
      const counts = Object.entries(COUNTS).filter(([name]) => event.result?.[name] !== undefined);
      const text = counts.map(([name, unit]) => counted(Number(event.result![name]), unit)).join(
        ", ",
      );
      const seconds = event.seconds === undefined ? "" : ` (${duration(event.seconds)})`;
      const from = event.from ? ` from ${event.from.join(", ")}` : "";
      return `${leading(event.stage)} ${event.state}${from}${text && `: ${text}`}${seconds}`;
    }
  }
}

/** Up to so many routers, the share of each is shown. */
const MOST_SHARES = 16;

function roundLine(
  { branch, round, rounds, shares, nmi, ...event }: RunEvent & { type: "round" },
): string {
  const isMany = shares.length > MOST_SHARES;
  const shown = (isMany ? [Math.min(...shares), Math.max(...shares)] : shares)
    .map((share) => `${(100 * share).toFixed(0)}%`).join(isMany ? " to " : " ");
  return `  ${branch === undefined ? "" : `branch ${branch} `}round ${
    String(round).padStart(2)
  } of ${rounds}  NLL ${event.nllPerToken.toFixed(4)} per token  ` +
    `shares ${shown}  regret ${event.regret.toFixed(4)}${
      nmi === null ? "" : `  NMI ${nmi.toFixed(3)}`
    }`;
}
