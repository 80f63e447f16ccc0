/**
 * Runs one stage in a run folder: what the tasks named after the stages share.
 *
 * @module
 */

import { type Part, runOneStage, type Stage } from "../mod.ts";
import type { Call } from "./command.ts";

/** Runs a stage and prints what it made. */
export async function runStageTask(stage: Stage, { sources, options, signal, onEvent }: Call): Promise<void> {
  const { run, force, adapter, variants, json } = options;
  const part = parsePart(options.part);
  const task = { run, sources, force, adapter, variants, stage, part };
  const result = await runOneStage(task, { signal, onEvent });
  if (json) console.log(JSON.stringify({ run, stage, ...result }, null, 2));
  else console.log(`${run}: ${stage} is complete${part ? ` for part ${options.part}` : ""}`);
}

/** Parses `2/4`, the second of four parts; none for "". */
export function parsePart(text: string): Part | undefined {
  if (!text) return undefined;
  const [index, of] = /^\d+\/\d+$/.test(text) ? text.split("/").map(Number) : [NaN, NaN];
  if (!(index >= 1 && index <= of)) {
    throw new RangeError(
      `Cannot take a part of the shards as --part must be I/N with 1 <= I <= N: it is "${text}"`,
    );
  }
  return { index, of };
}
