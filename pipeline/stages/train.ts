/**
 * The models of a run, each trained from the sequences of its part or of all text.
 *
 *     experts/expert-02/                    a Hugging Face folder, and metrics.jsonl
 *     scratch/experts~expert-02~KEY/        checkpoints of a training that has not ended, each with the metrics up to it
 *
 * @module
 */

import { ensure } from "../../kernels/errors.ts";
import { type Maker, type Making, type Node, SEQUENCES, TOKENIZER } from "../graph/node.ts";
import { namedRouters } from "../partition/partitioners.ts";
import { byNumber } from "../run/files.ts";
import type { Configuration } from "../settings/configuration.ts";
import type { Bank } from "./bank.ts";
import { SIDES } from "./parts.ts";
import { type Before, goingOn, type Target, targetSettings } from "./targets.ts";
import type { NeededFile } from "./token_rows.ts";

/** Version of what training makes of the same inputs. */
const REVISION = 2;

/** How models are trained, apart from the settings. None of it changes a weight, but for a trial. */
export interface TrainingOptions {
  /** Goes on from the last checkpoint although values differ. */
  resume?: boolean;
  /** Starts again, and removes the checkpoints of before. */
  anew?: boolean;
  /** Keeps only layer inputs and computes the rest again in the backward pass: the same bits. */
  recompute?: boolean;
  /** Trains for a share of the steps at this rate instead, into `search/`, to compare rates. */
  trial?: { share: number; rate: number };
  /** Steps between two checkpoints; 0 for none. Default: 200. */
  checkpointEvery?: number;
  /** Minutes after which a checkpoint is made that no step brings; 0 for none. Default: 15. */
  checkpointMinutes?: number;
  /** Checkpoints that are kept. Default: 2. */
  keep?: number;
  /** Most device memory that trainings may take together, in bytes. Default: as much as they need. */
  memory?: number;
  /** Trains experts as a bank, each step in the dispatches of one, to the same bits; a number tells how many at most. */
  together?: boolean | number;
  /** @ignore What other trainings share the devices with these. */
  bank?: Bank;
  /** Called once trainings have joined the bank. */
  began?: () => void;
  /** What models go on from, by their names, where text was added to theirs. */
  before?: ReadonlyMap<string, Before>;
  /** Nodes of experts that stay as they are in another run. */
  kept?: ReadonlyMap<number, Node>;
}

/** Names the node that says where a model's sequences stand: the part of its expert, or the list of all. */
export const textNode = ({ part }: Pick<Target, "part">): string => part ?? SEQUENCES;

/** Lists the training files and the held-out files of a model: the shards of its part, or those of all `tokens`. */
export function listNodeFiles(
  { part: need }: Pick<Target, "part">,
  tokens: readonly string[],
  manifest: Making["manifest"],
): Record<typeof SIDES[number], NeededFile[]> {
  const [train, test] = SIDES.map((side) => {
    if (need === undefined) return tokens.map((need) => ({ need, file: `${side}.arrow` }));
    const names = Object.keys(manifest(need).files).sort(byNumber);
    return names.filter((name) => name.startsWith(`${side}-`)).map((file) => ({ need, file }));
  });
  return { train, test };
}

/**
 * Makes the nodes of models, of which those of all text read these `tokens`. With `together` they share a maker, so that those that are
 * ready are trained as a bank. Throws an `InputError` where a model has no possible shape, or its batch no equal parts.
 */
export async function trainNodes(
  configuration: Configuration,
  named: readonly Target[],
  tokens: readonly string[],
  options: TrainingOptions = {},
): Promise<Node[]> {
  const { trial, together } = options, { init } = configuration;
  const targets = named.map((target) => {
    const before = options.before?.get(target.name);
    return before ? goingOn(target, before) : target;
  });
  const start = init === "" ? {} : { init: await modelHash(init) };
  const cost = targets.some(({ tellsCost }) => tellsCost) ? await namedRouters(configuration) : {};
  for (const target of targets) await checkTarget(target, configuration);
  const known = new Map<string, Target>();
  const make: Maker["make"] = async (all, work) => {
    const { trainAll } = await import("./training.ts");
    const models = all.map((making) => ({ making, target: known.get(making.node.name)! }));
    return await trainAll(models, { work, configuration, options, tokens });
  };
  const most = typeof together === "number" ? together : targets.length;
  const bank: Maker = { stage: "train", together: most, make };
  return targets.map((target) => {
    const name = trial ? `search/${target.name}-${trial.rate}` : target.node;
    known.set(name, target);
    const stage = `train-${target.name}`;
    const kept = options.kept?.get(target.expert ?? -1);
    if (kept) return kept;
    return {
      name,
      needs: [textNode(target), TOKENIZER, ...target.before ? [target.before.node] : []],
      settings: {
        ...targetSettings(target, configuration),
        ...start,
        ...target.tellsCost ? cost : {},
        ...trial,
      },
      revision: REVISION,
      maker: together && target.expert !== undefined ? bank : { stage, make },
    };
  });
}

async function checkTarget(target: Target, configuration: Configuration): Promise<void> {
  const { validateModelConfig } = await import("../model/shape.ts");
  validateModelConfig(await target.model(configuration), `the model "${target.name}"`);
  const batch = target.batch(configuration);
  const microBatch = configuration.microBatch || configuration.expertBatch;
  const fact = `batch is ${batch}, micro-batch is ${microBatch}`;
  ensure(
    batch % microBatch === 0,
    `Cannot train as the batch must be a multiple of the micro-batch: ${fact}`,
  );
}

/** Hashes the model that trainings begin with. */
async function modelHash(folder: string): Promise<string> {
  const { loadCheckpoint } = await import("../checkpoints/checkpoint.ts");
  return (await loadCheckpoint(folder)).sha256;
}
