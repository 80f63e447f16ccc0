/** What the tests of learning routers work with. */

import type { LearnContext } from "../../../pipeline/stages/learn_context.ts";
import { toBatch } from "../../../pipeline/rows/arrow.ts";
import { writeShards } from "../../../pipeline/rows/shards.ts";
import type { RunEvent } from "../../../pipeline/run/events.ts";
import { resolveConfiguration } from "../../../pipeline/settings/resolution.ts";
import { gpu } from "../../kernels/support.ts";
import { anyRows, LINEAGE, S } from "../evaluation/support.ts";

/** Training sequences of {@linkcode contextOf}. */
export const ROWS = 60;
/** Settings of {@linkcode contextOf}. */
export const flags = {
  sequenceLength: S,
  experts: 2,
  prefix: 6,
  routerHidden: 8,
  routerLayers: 1,
  routerHeads: 2,
  rounds: 3,
  roundSequences: 8,
  routerBatch: 4,
};
const TOKENIZER = JSON.stringify({ model: { vocab: { "<end>": 0 } } });

const written = new Map<string, Promise<string[]>>();

async function writeTokens(folder: string): Promise<string[]> {
  await Deno.writeTextFile(`${folder}/tokenizer.json`, TOKENIZER);
  const rows = toBatch(anyRows(ROWS), LINEAGE);
  return await Array.fromAsync(
    writeShards(`${folder}/tokens`, "train", ReadableStream.from([rows]), 25),
    ({ name }) => `${folder}/tokens/${name}`,
  );
}

/** Writes tokens and a tokenizer into a folder, once, and gives what learning in `run` takes. */
export async function contextOf(folder: string, run: string, changes: Partial<LearnContext> = {}) {
  if (!written.has(folder)) written.set(folder, writeTokens(folder));
  const shards = await written.get(folder)!;
  const events: RunEvent[] = [];
  const context: LearnContext = {
    stage: "train-routers",
    configuration: resolveConfiguration({ flags }),
    folder: `${folder}/${run}/partitioner`,
    metrics: `${folder}/${run}/metrics`,
    tokenizerFile: `${folder}/tokenizer.json`,
    tokens: { vocabulary: 13, eos: 0, tokenizer: "ab12", trainSequences: ROWS },
    shards,
    stateKey: (values) => JSON.stringify(values),
    anew: false,
    gpu: () => Promise.resolve(gpu),
    emit: (event) => events.push(event),
    recordTime: () => Promise.resolve(),
    ...changes,
  };
  return { context, events };
}

/** Lists the rounds that events tell of. */
export const roundsOf = (events: RunEvent[]) =>
  events.flatMap((event) => event.type === "round" ? [event.round] : []);
