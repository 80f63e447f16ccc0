/**
 * Router training by expectation maximisation (SmallTalk LM, Algorithm 1, stage 1). E small models
 * learn to split a corpus by the likelihood of a prefix. Between rounds they exchange nothing but
 * one score per sequence. Some of the routers lie on the device as a bank; a router's bits do not
 * depend on which others are in it.
 */

import type { AdamwSettings } from "../../../kernels/adamw/adamw.ts";
import { orDestroy } from "../../../kernels/device/buffers.ts";
import type { Gpu } from "../../../kernels/device/gpu.ts";
import { InputError, RunError, say, setting } from "../../../kernels/errors.ts";
import { createHostBatch, placeSequence } from "../../model/batch.ts";
import { initialWeights, type Weights } from "../../model/parameters.ts";
import { rowsPerPass } from "../../model/passes.ts";
import { createScorer, type Scorer } from "../../model/scorer.ts";
import { type ModelConfig, validateModelConfig } from "../../model/shape.ts";
import { prefixSpan, prefixTokens } from "../../model/span.ts";
import { createTrainer, type Trainer, type TrainerState } from "../../model/trainer.ts";
import { permutation, randomBits } from "../../random.ts";
import type { Columns } from "../../rows/columns.ts";
import type { RoundMetrics } from "../../graph/events.ts";
import { checkSettings, type Configuration } from "../../settings/configuration.ts";
import { trainedTokens } from "../../settings/partitioner.ts";
import { LossNotFiniteError, startPace } from "../../training/loop.ts";
import { constantRate } from "../../training/schedule.ts";
import { assignBalanced } from "../assignment/balanced.ts";
import { measureRows, normalizedMutualInformation } from "../metrics.ts";

/** What {@link trainRouters} takes apart from settings. Empty `prefixLengths` stand for M alone. */
export interface TrainRoutersOptions
  extends
    Omit<RoundSettings, "prefixLengths">,
    Pick<Configuration, "rounds">,
    Partial<Pick<Configuration, "prefixLengths">> {
  /** The open device. */
  gpu: Gpu;
  /** Shape of a router. */
  model: ModelConfig;
  /** Returns the next `n` training sequences. The stream never ends. */
  next(n: number): Promise<Columns>;
  /** Weights that the routers go on from: the first round, too, goes by what they say. */
  models?: Weights[];
  /** Called after every round. */
  onRound?(metrics: RoundMetrics): void;
  /** Called as steps finish. */
  onStep?(progress: { round: number; step: number; steps: number }): void;
  /** Stops between steps. */
  signal?: AbortSignal;
}

/**
 * Trains E routers for T rounds and returns their weights.
 *
 * All start from the same weights, and round 1 trains on a random equal split. Where they go on
 * from `models`, these assign the sequences of round 1. Every later round trains on the balanced
 * assignment of N new sequences by the routers of the round before.
 *
 * Throws an `InputError` on impossible settings, and a `RunError` with step and router where a loss
 * is not finite.
 */
export async function trainRouters(options: TrainRoutersOptions): Promise<Weights[]> {
  const { gpu, model, experts, rounds, roundSequences, seed, prefixLengths = [], models, signal } =
    options;
  check(options);
  const total = roundSequences * experts;
  const routers = [...Array(experts).keys()];
  const bank = openRouters(gpu, model, routers, { ...options, prefixLengths }, models);
  async function draw(): Promise<TokenColumns & Columns> {
    const { tokens, ...rows } = await options.next(total);
    if (rows.rows === total && tokens) return { ...rows, tokens };
    throw new RangeError(
      `Cannot train routers as a round must hold ${total} sequences with tokens: it ` +
        `holds ${rows.rows}`,
    );
  }
  try {
    let rows = await draw();
    let expert = models
      ? assignRound(await bank.score(rows), rows, options).expert
      : randomAssignment(total, experts, seed);
    for (let round = 1; round <= rounds; round++) {
      const onStep = (step: number, steps: number) => options.onStep?.({ round, step, steps });
      const steps = await bank.train(round, rows, expert, onStep, signal);
      rows = await draw();
      const assigned = assignRound(await bank.score(rows), rows, options);
      expert = assigned.expert;
      options.onRound?.({ round, ...assigned.measures, ...steps, sequences: (round + 1) * total });
      signal?.throwIfAborted();
    }
    return (await bank.state()).weights;
  } finally {
    bank.close();
  }
}

/**
 * Assigns the sequences of a round in equal parts by prefix NLLs `[rows, E]`, and measures the
 * routers that gave these.
 */
export function assignRound(
  nll: Float32Array,
  { length, source }: Pick<Columns, "length" | "source">,
  { experts, prefix }: Pick<Configuration, "experts" | "prefix">,
): {
  expert: Uint16Array;
  measures: Pick<RoundMetrics, "nllPerToken" | "shares" | "regret" | "nmi">;
} {
  const predicted = length.map((real) => Math.max(1, prefixTokens(real, prefix)));
  const expert = assignBalanced(nll, experts, predicted);
  const nmi = new Set(source).size < 2 ? null : normalizedMutualInformation(expert, source!);
  const measures = { ...measureRows(nll, expert, experts, predicted), nmi };
  return { expert, measures };
}

const [BATCH, SEQUENCES] = ["routerBatch", "roundSequences"].map((name) => setting(name));

function check(
  { model, experts, prefix, prefixLengths = [], rounds, roundSequences, routerBatch }:
    TrainRoutersOptions,
) {
  validateModelConfig(model, "a router");
  checkSettings({ experts, prefix, prefixLengths, rounds, roundSequences, routerBatch });
  const long = [prefix, ...prefixLengths].find((length) => length > model.context);
  if (long !== undefined) {
    throw new InputError(
      `Cannot train routers as a prefix must have 2 to ${model.context} tokens, the ` +
        `sequence length: it is ${long}`,
    );
  }
  if (roundSequences < routerBatch) {
    throw new InputError(
      say`Cannot train routers as a round must hold at least one batch per router: \
${SEQUENCES} is ${roundSequences}, ${BATCH} is ${routerBatch}`,
    );
  }
}

/** Settings of routers. Empty `prefixLengths` stand for M alone. */
export interface RoundSettings
  extends
    AdamwSettings,
    Pick<Configuration, "experts" | "prefix" | "prefixLengths" | "roundSequences" | "seed">,
    Pick<Configuration, "routerBatch" | "routerRate" | "routerWarmup"> {}

/** Sequences with tokens. */
export type TokenColumns = Required<Pick<Columns, "rows" | "tokens" | "length" | "sequence">>;

/** What a router's steps of a round came to. */
interface RoundSteps {
  /** Mean training loss of each router of the bank, nats per predicted token. */
  trainingLoss: number[];
  /** Learning rate of the last step. */
  rate: number;
  /** Steps that a router has taken so far. */
  steps: number;
}

/**
 * Puts these routers on the device, in the state that they have reached or with these weights; else
 * all begin with the same ones.
 */
export function openRouters(
  gpu: Gpu,
  model: ModelConfig,
  routers: readonly number[],
  settings: RoundSettings,
  state?: TrainerState | Weights[],
): RouterBank {
  const { prefix, seed, routerBatch: batch } = settings;
  const models = Array.isArray(state)
    ? state
    : state?.weights ?? Array(routers.length).fill(initialWeights(model, seed));
  const length = trainedTokens(settings);
  const options = { config: model, start: state ?? models, batch, length, settings };
  const trainer = createTrainer(gpu, options);
  const scorer = orDestroy({ destroy: () => trainer.close() }, () => {
    const rows = rowsPerPass(gpu.maxBindingBytes, model, prefix);
    return createScorer(gpu, { config: model, models, batch: rows, length: prefix });
  });
  return new RouterBank(gpu, routers, settings, trainer, scorer, length);
}

/** Routers on the device. Use {@linkcode openRouters}. */
export class RouterBank {
  /** The last round that they took the steps of here; 0 before. */
  round = 0;

  /** `routers` are their numbers. */
  constructor(
    private readonly gpu: Gpu,
    readonly routers: readonly number[],
    private readonly settings: RoundSettings,
    private readonly trainer: Trainer,
    private readonly scorer: Scorer,
    private readonly length: number,
  ) {}

  /**
   * Takes the steps of a round: each router on the rows that `expert` gives it, shuffled, the
   * remainder dropped.
   */
  async train(
    round: number,
    rows: TokenColumns,
    expert: Uint16Array,
    onStep?: (step: number, steps: number) => void,
    signal?: AbortSignal,
  ): Promise<RoundSteps> {
    const { trainer, routers, settings } = this;
    const { roundSequences, routerBatch: batch, routerRate, routerWarmup: warmup } = settings;
    const steps = Math.floor(roundSequences / batch);
    const stride = rows.tokens.length / rows.rows;
    const parts = routers.map((router) => this.#listRouterRows(router, round, expert));
    const input = createHostBatch(routers.length * batch, this.length);
    const pace = startPace(this.gpu.kind);
    const trainingLoss = new Array<number>(routers.length).fill(0);
    let rate = 0;
    for (let step = 1; step <= steps; step++) {
      for (let place = 0; place < input.lengths.length; place++) {
        const row = parts[Math.floor(place / batch)][(step - 1) * batch + place % batch];
        const real = prefixSpan(rows.length[row], this.#drawPrefix(round, rows.sequence[row])).end;
        placeSequence(input, place, rows.tokens, row * stride, real);
      }
      rate = constantRate(trainer.steps + 1, { rate: routerRate, warmup });
      trainer.step(input, rate);
      if (!pace.step() && step !== steps && !signal?.aborted) continue;
      for (const { step, loss, norm } of await trainer.drain()) {
        loss.forEach((loss, place) => {
          if (!Number.isFinite(loss) || !Number.isFinite(norm[place])) {
            throw notFinite(routers[place], round, step, loss, norm[place], routerRate);
          }
          trainingLoss[place] += loss / steps;
        });
      }
      pace.looked();
      onStep?.(step, steps);
      signal?.throwIfAborted();
    }
    this.scorer.load(await trainer.weights());
    this.round = round;
    return { trainingLoss, rate, steps: trainer.steps };
  }

  /** Scores sequences: prefix NLLs f32 `[rows, routers of the bank]`, nats. */
  score({ tokens, rows, length }: TokenColumns): Promise<Float32Array> {
    return this.scorer.score(tokens, tokens.length / rows, length);
  }

  /** Reads weights and moments. */
  state(): Promise<TrainerState> {
    return this.trainer.state();
  }

  /** Frees the device's memory. */
  close(): void {
    this.trainer.close();
    this.scorer.close();
  }

  /** Lists the rows of a router in a round, in the order in which it trains on them. */
  #listRouterRows(router: number, round: number, expert: Uint16Array): number[] {
    const rows: number[] = [];
    expert.forEach((chosen, row) => chosen === router && rows.push(row));
    const order = permutation(rows.length, this.settings.seed, `round ${round} router ${router}`);
    return Array.from(order, (i) => rows[i]);
  }

  /** Draws the prefix length of a sequence in a round. */
  #drawPrefix(round: number, sequence: bigint): number {
    const { prefixLengths, seed } = this.settings;
    if (prefixLengths.length < 2) return this.length;
    const bits = randomBits(seed, `prefix lengths of round ${round}`, sequence);
    return prefixLengths[Number(bits % BigInt(prefixLengths.length))];
  }
}

function notFinite(
  router: number,
  round: number,
  step: number,
  loss: number,
  norm: number,
  rate: number,
): RunError {
  return new RunError(
    `Cannot go on training router ${router} as its loss must be finite: it is ` +
      `${loss} at step ${step} (round ${round})`,
    {
      remedy: say`make ${setting("routerRate")} smaller than ${rate} or ${
        setting("routerWarmup")
      } longer`,
      cause: new LossNotFiniteError(step, loss, norm),
    },
  );
}

/** The first assignment: a random permutation, dealt out in turn, so that all parts are equal. */
export function randomAssignment(rows: number, experts: number, seed: number): Uint16Array {
  const expert = new Uint16Array(rows);
  permutation(rows, seed, "first assignment").forEach((row, i) => expert[row] = i % experts);
  return expert;
}
