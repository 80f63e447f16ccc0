/**
 * Runs one stage in a run folder: what the tasks named after the stages share.
 *
 * @module
 */

import { InputError, task } from "../kernels/mod.ts";
import { type Part, type ProofSummary, runOneStage, STAGES } from "../pipeline/stages/mod.ts";
import { type Fields, type Values } from "../pipeline/settings/mod.ts";
import { type Call, defineTask } from "./command.ts";
import { DEVICE, IN_A_RUN, REQUIRE_GPU } from "./options.ts";
import { proofText } from "./text.ts";
import { words } from "./wording.ts";

/** Options of a stage; not every stage takes a part or a device. */
type StageOptions = Values<typeof IN_A_RUN> & Partial<Values<typeof DEVICE & typeof REQUIRE_GPU>> & {
  part?: Part;
  json: boolean;
};

/** Runs a stage and prints what it made. */
export async function runStageTask(
  stage: string,
  { sources, options, signal, onEvent, print }: Omit<Call<Fields>, "options"> & { options: StageOptions },
): Promise<void> {
  const { run, part } = options;
  const result = await runOneStage({ ...options, sources, stage }, { signal, onEvent });
  const closes = part ? partText(run, part, result) : "";
  const proved = result.proof ? `\n${proofText(result.proof as ProofSummary)}` : "";
  print({ run, stage, ...result }, `${run}: ${stage} is complete${closes}${proved}`);
}

/** Makes the task of a stage that works in a run folder alone. */
export function stageTask(name: string, meta: { main: boolean }) {
  const { about } = STAGES.get(name)!;
  const options = { ...IN_A_RUN, ...DEVICE, ...REQUIRE_GPU };
  return defineTask({ name, about, options, run: (call) => runStageTask(name, call) }, meta);
}

/** Says which part is complete, how far all of them are, and what closes the stage. */
function partText(run: string, part: Part, { scored, shards, closed }: Record<string, unknown>): string {
  const text = ` for part ${part.index}/${part.of}, `;
  if (closed) return `${text}as for all others`;
  const [score, partition] = ["score", "partition"].map((name) => words(task(name, { run })));
  const close = `close the stage with ${score}, or go on with ${partition}`;
  if (scored === shards) return `${text}and all ${shards} shards are scored: ${close}`;
  return `${text}with ${scored} of ${shards} shards scored: score the other parts, then ${close}`;
}

/** Parses `2/4`, the second of four parts; none for "". */
export function parsePart(text: string): Part | undefined {
  if (!text) return undefined;
  const [index, of] = /^\d+\/\d+$/.test(text) ? text.split("/").map(Number) : [];
  if (index >= 1 && index <= of) return { index, of };
  throw new InputError(
    `Cannot take a part of the shards as --part must be I/N with 1 <= I <= N: it is "${text}"`,
  );
}
