/**
 * Runs one stage in a run folder: what the tasks named after the stages share.
 *
 * @module
 */

import { InputError, type Part, runOneStage, STAGES, task, type Values } from "../mod.ts";
import { type Call, defineTask } from "./command.ts";
import { DEVICE, IN_A_RUN } from "./options.ts";
import { words } from "./wording.ts";

/** Options of a stage; not every stage takes a part or a device. */
type StageOptions = Values<typeof IN_A_RUN> & Partial<Values<typeof DEVICE>> & { part?: Part; json: boolean };

/** Runs a stage and prints what it made. */
export async function runStageTask(
  stage: string,
  { sources, options, signal, onEvent }: Omit<Call<Record<never, never>>, "options"> & {
    options: StageOptions;
  },
): Promise<void> {
  const { run, force, adapter, variants, part, json } = options;
  const asked = { run, sources, force, adapter, variants, stage, part };
  const result = await runOneStage(asked, { signal, onEvent });
  if (json) console.log(JSON.stringify({ run, stage, ...result }, null, 2));
  else console.log(`${run}: ${stage} is complete${part ? partText(run, part, result) : ""}`);
}

/** Makes the task of a stage that works in a run folder alone. */
export function stageTask(name: string) {
  return defineTask({
    name,
    about: STAGES.get(name)!.about,
    options: { ...IN_A_RUN, ...DEVICE },
    run: (call) => runStageTask(name, call),
  });
}

/** Says which part is complete, how far all of them are, and what closes the stage. */
function partText(
  run: string,
  { index, of }: Part,
  { scored, shards, closed }: Record<string, unknown>,
): string {
  const part = `${index}/${of}`;
  if (closed) return ` for part ${part}, as for all others`;
  const [score, partition] = ["score", "partition"].map((name) => words(task(name, { run })));
  const close = `close the stage with ${score}, or go on with ${partition}`;
  return scored === shards
    ? ` for part ${part}, and all ${shards} shards are scored: ${close}`
    : ` for part ${part}, with ${scored} of ${shards} shards scored: score the other parts, then ${close}`;
}

/** Parses `2/4`, the second of four parts; none for "". */
export function parsePart(text: string): Part | undefined {
  if (!text) return undefined;
  const [index, of] = /^\d+\/\d+$/.test(text) ? text.split("/").map(Number) : [NaN, NaN];
  if (!(index >= 1 && index <= of)) {
    throw new InputError(
      `Cannot take a part of the shards as --part must be I/N with 1 <= I <= N: it is "${text}"`,
    );
  }
  return { index, of };
}
