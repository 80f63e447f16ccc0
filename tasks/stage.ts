/**
 * Runs one stage in a run folder: the tasks that are named after stages share this.
 *
 * @module
 */

import { InputError, say, setting, task } from "../kernels/mod.ts";
import { lineageOf, readShards } from "../pipeline/rows/mod.ts";
import type { Fields, Values } from "../pipeline/settings/mod.ts";
import { type Part, type ProofSummary, runOneStage, STAGES } from "../pipeline/stages/mod.ts";
import { type Call, defineTask } from "./command.ts";
import { type DEVICE, IN_A_RUN, type REQUIRE_GPU } from "./options.ts";
import { proofText } from "./text.ts";
import { words } from "./wording.ts";

/** Options of a stage; not every stage takes a part, is made by a group, or takes a device. */
type StageOptions = Values<typeof IN_A_RUN> & Partial<Values<typeof DEVICE & typeof REQUIRE_GPU>> & {
  part?: Part;
  group?: Part;
  patience?: number;
  workers?: number;
  json: boolean;
};

/** Runs a stage and prints what it made. */
export async function runStageTask(
  stage: string,
  { sources, options, given, signal, onEvent, print }: Omit<Call<Fields>, "options"> & {
    options: StageOptions;
  },
): Promise<void> {
  const { run, group, patience } = options;
  const ofFiles = ["output", "prices"].find((name) => given.has(name));
  if (ofFiles !== undefined) {
    throw new InputError(say`Cannot use ${setting(ofFiles)} as files or - must be named besides: none is`, {
      remedy: "leave it out to work in the run folder",
    });
  }
  if (given.has("patience") && !group) {
    const [own, other] = ["patience", "group"].map((name) => setting(name));
    throw new InputError(say`Cannot use ${own} as ${other} must be given besides: it is not`);
  }
  const part = options.part ?? (group && { ...group, patience });
  const result = await runOneStage({ ...options, sources, stage, part }, { signal, onEvent });
  const closes = part ? partText(run, stage, part, result) : "";
  const proof = result.proof as ProofSummary | undefined;
  const proved = proof ? `\n${proofText(proof, await costsOf(run))}` : "";
  print({ run, stage, ...result }, `${run}: ${stage} is complete${closes}${proved}`);
}

/** Says what a cost is in a run whose sequences are assigned, where it is no NLL. */
async function costsOf(run: string): Promise<string | undefined> {
  for await (const batch of readShards([`${run}/assignments/train-00000.arrow`])) {
    return lineageOf(batch)?.costs;
  }
}

/** Makes the task of a stage that works in a run folder alone, with options of its own. */
export function stageTask(name: string, meta: { main: boolean }, own: Fields = {}) {
  const { about } = STAGES.get(name)!;
  return defineTask({
    name,
    about,
    options: { ...IN_A_RUN, ...own },
    run: (call) => runStageTask(name, call),
  }, meta);
}

/** What the parts of a stage make, and how that is called. */
const MAKES: Record<string, { things: string; made: string }[]> = {
  // Each of these begins when the one before is complete.
  tokenize: [
    { things: "files", made: "tokenized" },
    { things: "groups", made: "exchanged" },
    { things: "shards", made: "written" },
  ],
  score: [{ things: "shards", made: "scored" }],
  split: [{ things: "shards", made: "written" }],
  evaluate: [{ things: "models", made: "evaluated" }],
};

/** Says which part of a stage is complete, how far all of them are, and what closes the stage. */
export function partText(run: string, stage: string, part: Part, result: Record<string, unknown>): string {
  const text = ` for part ${part.index}/${part.of}, `;
  if (result.closed) return `${text}as for all others`;
  const isOfPartition = stage !== "evaluate";
  const [own, partition] = [stage, "partition"].map((name) => words(task(name, { run })));
  const close = `close the stage with ${own}${isOfPartition ? `, or go on with ${partition}` : ""}`;
  const { member, members, rounds } = result;
  if (member !== undefined) {
    return ` for member ${member} of ${members}, after round ${rounds}: once all members are complete, ${close}`;
  }
  const passes = MAKES[stage];
  const begun = passes.filter(({ made }) => made in result);
  const { things, made } = begun.find(({ things, made }) => result[made] !== result[things]) ?? begun.at(-1)!;
  const [done, all] = [result[made], result[things]];
  if (done === all) return `${text}and all ${all} ${things} are ${made}: ${close}`;
  const others = passes.length === 1
    ? "the other parts, then"
    : `the other parts, and parts again until all ${passes.at(-1)!.things} are ${passes.at(-1)!.made}, then`;
  return `${text}with ${done} of ${all} ${things} ${made}: ${stage} ${others} ${close}`;
}
