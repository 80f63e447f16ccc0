/**
 * The models of a run, each trained from the sequences of its part or of all text.
 *
 *     experts/expert-02/                    a Hugging Face folder, and metrics.jsonl
 *     scratch/experts~expert-02~KEY/        checkpoints of a training that has not ended, each with the metrics up to it
 *
 * @module
 */

import { InputError } from "../../kernels/errors.ts";
import type { Maker, Making, Node, Work } from "../graph/node.ts";
import { NodeFiles } from "../graph/vouched.ts";
import { namedRouters } from "../partition/partitioners.ts";
import { byNumber } from "../run/files.ts";
import type { Configuration } from "../settings/configuration.ts";
import type { Bank } from "./bank.ts";
import { partOf, TOKENIZER } from "../graph/places.ts";
import { type Target, targetSettings } from "./targets.ts";
import type { NeededFile } from "./token_rows.ts";
import { SEQUENCES, TEST, TRAIN } from "./tokenize.ts";

/** Version of what training makes of the same inputs. */
export const TRAINING_REVISION = 2;

/** How models are trained, besides the settings. None of it changes a weight, but for a trial. */
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
  /** Trains models of one shape as a bank, each step in the dispatches of one, to the same bits. */
  together?: boolean;
  /** What other trainings share the devices with these. */
  bank?: Bank;
  /** Called once trainings have joined the bank. */
  began?: () => void;
}

/** Where the sequences of a model stand. */
export interface TrainingFiles {
  /** Nodes that it needs. */
  needs: readonly string[];
  /** Lists its training files and held-out files, once these nodes are made. */
  files(making: Pick<Making, "manifest">): { train: NeededFile[]; test: NeededFile[] };
}

/** Lists the shards in the part of an expert. */
export const partFiles = (part: string): TrainingFiles => ({
  needs: [part],
  files({ manifest }) {
    const names = Object.keys(manifest(part).files).sort(byNumber);
    const of = (side: string) =>
      names.filter((name) => name.startsWith(`${side}-`)).map((file) => ({ need: part, file }));
    return { train: of("train"), test: of("test") };
  },
});

/** Lists the sequences of all text, by the nodes of its blocks' tokens. */
export const textFiles = (tokens: readonly string[]): TrainingFiles => ({
  needs: [SEQUENCES],
  files: () => ({
    train: tokens.map((need) => ({ need, file: TRAIN })),
    test: tokens.map((need) => ({ need, file: TEST })),
  }),
});

/** Says where the sequences of a model stand: in the part of its expert, or in all tokens. */
export const filesOf = ({ expert }: Pick<Target, "expert">, tokens: readonly string[]): TrainingFiles =>
  expert === undefined ? textFiles(tokens) : partFiles(partOf(expert));

/** Makes the nodes of models. They share a maker, so those that are ready together can be trained as a bank. */
export async function trainNodes(
  configuration: Configuration,
  targets: readonly { target: Target; text: TrainingFiles }[],
  options: TrainingOptions = {},
): Promise<Node[]> {
  const { trial, together } = options;
  const { init } = configuration;
  const start = init === "" ? {} : { init: await modelHash(init) };
  const cost = targets.some(({ target }) => target.tellsCost) ? await namedRouters(configuration) : {};
  const maker = new TrainMaker(configuration, options);
  for (const { target } of targets) await checkTarget(target, configuration);
  return targets.map(({ target, text }) => {
    const name = trial ? `search/${target.name}-${trial.rate}` : target.node;
    maker.models.set(name, { target, text });
    return {
      name,
      needs: [...text.needs, TOKENIZER],
      settings: {
        ...targetSettings(target, configuration),
        ...start,
        ...target.tellsCost ? cost : {},
        ...trial,
      },
      revision: TRAINING_REVISION,
      maker: together ? maker : maker.alone(target.name),
    };
  });
}

/** Throws an `InputError` where a model has no possible shape, or its batch no equal parts: before settings are written. */
async function checkTarget(target: Target, configuration: Configuration): Promise<void> {
  const { validateModelConfig } = await import("../model/shape.ts");
  validateModelConfig(await target.model(configuration), `the model "${target.name}"`);
  const batch = target.batch(configuration),
    microBatch = configuration.microBatch || configuration.expertBatch;
  if (batch % microBatch === 0) return;
  throw new InputError(
    `Cannot train as the batch must be a multiple of the micro-batch: batch is ${batch}, micro-batch is ${microBatch}`,
  );
}

/** Trains models, one by one or as banks. */
class TrainMaker implements Maker {
  readonly stage = "train";
  readonly models = new Map<string, { target: Target; text: TrainingFiles }>();

  constructor(private readonly configuration: Configuration, private readonly options: TrainingOptions) {}

  get together(): number {
    return this.models.size;
  }

  /** Gives a maker of one model, so that its stage has the model's name. */
  alone(name: string): Maker {
    return { stage: `train-${name}`, make: (all, work) => this.make(all, work) };
  }

  async make(all: readonly Making[], work: Work): Promise<(Record<string, unknown> | Error)[]> {
    const { trainAll } = await import("./training.ts");
    const models = all.map(({ node }) => this.models.get(node.name)!);
    return await trainAll(all, models, work, this.configuration, this.options);
  }
}

/** Hashes the model that trainings begin with. */
async function modelHash(folder: string): Promise<string> {
  const { loadCheckpoint } = await import("../checkpoints/checkpoint.ts");
  return (await loadCheckpoint(folder, new NodeFiles())).sha256;
}
