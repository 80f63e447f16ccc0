/**
 * Evaluates a mixture on held-out sequences beside its baselines: perplexities with intervals, by source, by routed segment
 * and by length of the routing prefix (SmallTalk LM, sections 3.2 and 3.3, figures 4b and 5).
 *
 * The sequences are read once per model. One model of an expert's size is held at a time; what is kept of a sequence is
 * where it goes and its lowest NLL, what is kept of a document is a row of sums.
 *
 * @module
 */

import type { Gpu } from "../../kernels/gpu.ts";
import type { RecordBatch } from "../rows/arrow.ts";
import type { Checkpoint, Routers } from "../checkpoints/checkpoint.ts";
import { type ModelConfig, parameterCount } from "../model/shape.ts";
import { createScorer, type Scorer } from "../model/scorer.ts";
import { rowsPerPass } from "../model/transformer.ts";
import { shortHash } from "../run/files.ts";
import { resample } from "./bootstrap.ts";
import { type Baseline, type Evaluation, EVALUATION_FORMAT } from "./evaluation.ts";
import { type Kept, route, type Routed } from "./routes.ts";
import { blocks } from "./rows.ts";
import { createTables, summarize } from "./tables.ts";

/** Reads a model when its turn has come. */
export type ModelLoader = () => Promise<Checkpoint>;

/** What {@linkcode evaluate} takes. */
export interface EvaluateOptions {
  /** The open device. */
  gpu: Gpu;
  /** The routers, from `loadRouters`. */
  routers: Routers;
  /** Tokens of the routing prefix, M: 1 to S. */
  prefix: number;
  /** The experts, one per router; each is read once, when the one before it is gone. */
  experts: readonly ModelLoader[];
  /** Dense models to compare with, read in the same way. */
  baselines?: Partial<Record<Baseline, ModelLoader>>;
  /** Opens the held-out batches from the start: once for the routers and once per model. */
  open: () => ReadableStream<RecordBatch>;
  /** Draws of the bootstrap; 1000 unless given. */
  resamples?: number;
  /** Seed of the bootstrap; 0 unless given. */
  seed?: number;
  /** Sequences per forward pass. Changes the speed and the memory, never a result. */
  batch?: number;
  /** Called with the sequences done so far; a sequence counts once per pass. */
  onProgress?: (done: number) => void;
  /** Ends the work. */
  signal?: AbortSignal;
}

/** Draws of the bootstrap unless more or fewer are asked for. */
export const RESAMPLES = 1000;

const BASELINES: readonly Baseline[] = ["dense", "dense-steps"];

/**
 * Evaluates experts that routers choose on held-out sequences.
 *
 * M tokens route as in `score` and `assignArgmax`, to the bit: the lowest NLL, the lower id among equals. The same sequences,
 * models and device give the same result however the sequences are cut into batches.
 *
 * @throws {RangeError} if there are no sequences or no experts, if M is longer than they are, if there is not one router per
 * expert, if models differ in shape, or tokens, routers and models in tokenizer, or if an NLL isn't finite.
 */
export async function evaluate(options: EvaluateOptions): Promise<Evaluation> {
  const { routers, prefix, experts, baselines = {}, resamples = RESAMPLES, seed = 0, signal } = options;
  checkOptions(options);
  let done = 0;
  const onRows = (rows: number) => options.onProgress?.(done += rows);
  const routed = await route(options, onRows);
  if (routed.documents === 0) {
    throw new RangeError("Cannot evaluate as there must be held-out sequences: there are none");
  }
  const names = BASELINES.filter((name) => baselines[name]);
  const tables = createTables(routed, { prefix, experts: experts.length, baselines: names });
  const { columns, add } = tables;

  let config: ModelConfig | undefined;
  const pass = async (load: ModelLoader, name: string, visit: Visit) => {
    signal?.throwIfAborted();
    const model = await openModel(options, load, { name, like: config, length: routed.sequenceLength });
    config = model.config;
    try {
      await eachNll(options, model.scorer, name, routed, visit, onRows);
    } finally {
      model.scorer.close();
    }
  };
  for (const [expert, load] of experts.entries()) {
    await pass(load, `expert ${expert}`, (block, row, nll) => {
      for (let k = 0; k < routed.prefixes.length; k++) {
        if (block.routes[row * routed.prefixes.length + k] === expert) add(block, row, k, nll);
      }
      add(block, row, columns.random!, nll / experts.length);
      block.lowest[row] = Math.min(block.lowest[row], nll);
    });
  }
  for (const block of routed.blocks) {
    block.lowest.forEach((nll, row) => add(block, row, columns.oracle!, nll));
  }
  for (const name of names) {
    await pass(baselines[name]!, name, (block, row, nll) => add(block, row, columns[name]!, nll));
  }

  const { width, byDocument: { nll, tokens } } = tables;
  const draws = await resample({ nll, tokens, columns: width }, { resamples, seed, signal });
  return {
    format: EVALUATION_FORMAT,
    prefix,
    experts: experts.length,
    documents: routed.documents,
    sequences: routed.blocks.reduce((sum, { rows }) => sum + rows, 0),
    tokens: tokens.reduce((a, b) => a + b),
    resamples,
    seed,
    ...summarize(routed, tables, draws),
    models: {
      config: config!,
      parameters: parameterCount(config!),
      router: routers.config,
      routerParameters: parameterCount(routers.config),
    },
  };
}

function checkOptions({ routers, prefix, experts }: EvaluateOptions): void {
  if (!Number.isSafeInteger(prefix) || prefix < 1) {
    throw new RangeError(`Cannot evaluate as the prefix must be an integer >= 1: prefix is ${prefix}`);
  }
  const { length } = routers.models;
  if (experts.length === length) return;
  throw new RangeError(
    `Cannot evaluate as there must be an expert for every router: there are ${experts.length} experts, ${length} routers`,
  );
}

/** Takes the NLL of a whole sequence, nats. */
type Visit = (block: Kept, row: number, nll: number) => void;

/** Puts a model on the device; its weights on the host are gone on return. */
async function openModel(
  { gpu, routers, batch }: EvaluateOptions,
  load: ModelLoader,
  { name, like, length }: { name: string; like?: ModelConfig; length: number },
): Promise<{ scorer: Scorer; config: ModelConfig }> {
  const { config, weights, notes } = await load();
  if (like) checkShape(config, like, name);
  checkTokenizer(notes.tokenizer, routers.notes.tokenizer, name);
  const rows = rowsPerPass(gpu, config, length, batch);
  return { scorer: createScorer(gpu, { config, models: [weights], batch: rows, length }), config };
}

/** Throws a `RangeError` with both values where a model's shape differs from that of expert 0. */
export function checkShape(config: ModelConfig, like: ModelConfig, name: string): void {
  for (const field of ["vocabulary", "hidden", "layers", "heads", "context"] as const) {
    if (config[field] === like[field]) continue;
    throw new RangeError(
      `Cannot evaluate as ${name} must have the shape of expert 0: ${field} is ${
        config[field]
      }, that of expert 0 is ` +
        `${like[field]}`,
    );
  }
}

/** Throws a `RangeError` with both values where a model reads the ids of another tokenizer; it may say nothing of it. */
export function checkTokenizer(
  tokenizer: string | undefined,
  expected: string | undefined,
  name: string,
): void {
  if (tokenizer === undefined || expected === undefined || tokenizer === expected) return;
  throw new RangeError(
    `Cannot evaluate as ${name} must have the tokenizer of the routers: it is ${
      shortHash(tokenizer)
    }, theirs is ${shortHash(expected)}; train ${name} again`,
  );
}

/** Scores every sequence with the model on the device. */
async function eachNll(
  { open, routers, signal }: EvaluateOptions,
  scorer: Scorer,
  name: string,
  routed: Routed,
  visit: Visit,
  onRows: (rows: number) => void,
): Promise<void> {
  const { tokenizer } = routers.notes;
  let at = 0;
  for await (
    const { rows, tokens, sequenceLength, length, document } of blocks(open(), {
      tokenizer,
      vocabulary: routers.config.vocabulary,
    })
  ) {
    signal?.throwIfAborted();
    const block = routed.blocks[at++];
    if (block?.rows !== rows) throw changed(name);
    const nll = await scorer.score(tokens, sequenceLength, length);
    for (let row = 0; row < rows; row++) {
      if (!Number.isFinite(nll[row])) {
        throw new RangeError(
          `Cannot evaluate as every NLL must be finite: that of a sequence of document ${
            document[row]
          } under ${name} is ` +
            `${nll[row]}; train ${name} again at a lower rate`,
        );
      }
      visit(block, row, nll[row]);
    }
    onRows(rows);
  }
  if (at !== routed.blocks.length) throw changed(name);
}

const changed = (name: string) =>
  new RangeError(
    `Cannot evaluate as every pass must read the same sequences: ${name} gets more or fewer of them than the routers`,
  );
