/**
 * Words the log of a server: a line for every request, and what went wrong that was no fault of a client.
 *
 * @module
 */

import { ExplainedError } from "../kernels/mod.ts";
import type { Answered } from "../pipeline/serving/mod.ts";
import { describe, explained, type Known } from "./errors.ts";
import type { Log } from "./progress.ts";

/** Words a request that was answered. */
export function answerLine(answered: Answered, log: Log): string {
  const time = new Date().toISOString();
  if (log === "json") return JSON.stringify({ time, ...answered });
  const { request, status, milliseconds, notes } = answered;
  const more = Object.entries(notes).map(([name, value]) => ` ${name}=${JSON.stringify(value)}`).join("");
  return `${time} ${request} ${status} ${milliseconds.toFixed(0)} ms${more}`;
}

/** Words an error: one line where it explains itself, as tasks tell it; a bug has its stack. */
export async function errorLine(error: unknown, log: Log, known: Known = {}): Promise<string> {
  const time = new Date().toISOString();
  const text = explained(error) instanceof ExplainedError
    ? await describe(error, known)
    : `bug: ${Deno.inspect(error)}`;
  return log === "json"
    ? JSON.stringify({ time, type: "error", message: text.replace(/^error: /, "") })
    : `${time} ${text}`;
}
