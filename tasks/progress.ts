/**
 * Shows on standard error what a run is doing: a bar with rate and time left on a terminal, elsewhere lines with the time of day,
 * or JSON for machines.
 *
 * @module
 */

import type { RunEvent } from "../pipeline/run/mod.ts";
import { type Pace, paceOf, progressText } from "./pace.ts";
import { eventLine } from "./event_line.ts";
import { worded } from "./wording.ts";

const LINE_EVERY_MS = 5000;
const JSON_EVERY_MS = 1000;
const BAR_WIDTH = 24;

/** How progress is written where standard error is no terminal, or everywhere if asked for. */
export type Log = "text" | "json";

/** Shows events until `stop` is called. */
export interface Progress {
  /** Shows one event. */
  show(event: Shown): void;
  /** Shows another line; `more` holds further fields for JSON. */
  tell(type: "note" | "error", text: string, more?: Record<string, unknown>): void;
  /** Clears the bar. */
  stop(): void;
}

type Shown = Exclude<RunEvent, { type: "checkpoint" }>;

/**
 * Opens a bar on a terminal. Its library is loaded only here: loading it takes a tenth of the time of a task
 * that does nothing.
 */
async function openBar() {
  // @ts-types="@types/cli-progress"
  const { SingleBar } = await import("cli-progress");
  return new SingleBar({
    format: ({ barsize }, { progress }, { text }) => text(progress, barsize),
    barsize: BAR_WIDTH,
    clearOnComplete: true,
    hideCursor: true,
  });
}

/** Starts to show progress on standard error. */
export async function startProgress(log: Log): Promise<Progress> {
  const paces = new Map<string, Pace>();
  const bar = log === "text" && Deno.stderr.isTerminal() ? await openBar() : null;
  const wait = log === "json" ? JSON_EVERY_MS : LINE_EVERY_MS;
  let shown = ""; // the stage of the bar
  const stop = () => {
    bar?.stop();
    shown = "";
  };
  const write = (value: Record<string, unknown>, text: string) => {
    stop();
    const time = new Date().toISOString();
    if (log === "json") console.error(JSON.stringify({ time, ...value }));
    else console.error(bar ? text : `${time.slice(0, 19)}Z ${text}`);
  };
  function tick(event: RunEvent & { type: "progress" }): void {
    const now = performance.now();
    const pace = paceOf(event, paces.get(event.stage), now);
    paces.set(event.stage, pace);
    if (bar) {
      const text = () => progressText(event, pace, { width: Deno.consoleSize().columns, bar: BAR_WIDTH });
      if (event.stage !== shown) {
        stop();
        shown = event.stage;
        bar.start(event.total ?? 0, event.done, { text });
      } else bar.update(event.done, { text });
    } else if (now - pace.told >= wait || log === "json" && event.done === event.total) {
      pace.told = now;
      write({ ...event, perSecond: pace.rate, secondsLeft: pace.left }, progressText(event, pace));
    }
  }
  return {
    show(event) {
      if (event.type === "progress") return tick(event);
      if (event.type === "stage") paces.delete(event.stage);
      const told = event.type === "warning" ? { ...event, message: worded(event.message) } : event;
      write(told, eventLine(event));
    },
    tell(type, text, more) {
      if (log === "json") return write({ type, message: text, ...more }, text);
      stop();
      console.error(text);
    },
    stop,
  };
}
