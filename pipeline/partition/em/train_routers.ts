/**
 * Router training by expectation maximisation (SmallTalk LM, Algorithm 1, stage 1): E small models learn to split a
 * corpus by the likelihood of a prefix, exchanging nothing but one score per sequence between rounds.
 */

import { InputError, RunError, say, setting } from "../../../kernels/errors.ts";
import type { AdamwSettings } from "../../../kernels/adamw.ts";
import type { Gpu } from "../../../kernels/gpu.ts";
import type { Columns } from "../../rows/columns.ts";
import { permutation, randomBits } from "../../random.ts";
import { emptyBatch, placeSequence } from "../../model/batch.ts";
import { type ModelConfig, validateModelConfig } from "../../model/shape.ts";
import { initialWeights, type Weights } from "../../model/parameters.ts";
import { createScorer } from "../../model/scorer.ts";
import { rowsPerPass } from "../../model/passes.ts";
import { constantRate } from "../../training/schedule.ts";
import { createTrainer, type Trainer, type TrainerState } from "../../model/trainer.ts";
import { assignBalanced } from "../assignment/balanced.ts";
import type { RoundMetrics } from "../../run/events.ts";
import { nllPerToken, normalizedMutualInformation, regret, shares } from "../metrics.ts";

/** Where router training stands between two rounds; enough to go on bit for bit. */
export interface RouterState {
  /** Rounds done. */
  round: number;
  /** Sequences drawn before this round's scoring. */
  consumed: number;
  /** Weights, moments and steps of all routers. */
  trainer: TrainerState;
}

/** What {@link trainRouters} takes. */
export interface TrainRoutersOptions extends AdamwSettings {
  /** The open device. */
  gpu: Gpu;
  /** Shape of a router. */
  model: ModelConfig;
  /** Experts, and as many routers, E. */
  experts: number;
  /** Tokens of the routing prefix, M. */
  prefix: number;
  /** Prefix lengths that training mixes, drawn per sequence; `[M]` unless given. */
  prefixLengths?: number[];
  /** EM rounds, T. */
  rounds: number;
  /** Sequences per router and round, N / E. */
  roundSequences: number;
  /** Sequences per router and step. */
  batch: number;
  /** Learning rate after warm-up, then constant. */
  rate: number;
  /** Steps of linear warm-up. */
  warmup: number;
  /** Seed of the weights, the first assignment and every shuffle. */
  seed: number;
  /** Opens the stream of training sequences after `consumed` of them; the result returns the next `n`, without end. */
  open(consumed: number): (n: number) => Promise<Columns>;
  /** Resumes after a round. */
  state?: RouterState;
  /** Called after every round; `state` reads what a later run resumes from. */
  onRound?(metrics: RoundMetrics, state: () => Promise<RouterState>): Promise<void> | void;
  /** Called as steps finish. */
  onStep?(progress: { round: number; step: number; steps: number }): void;
  /** Stops between steps. */
  signal?: AbortSignal;
}

/** Steps between two looks at the losses: small enough for progress, large enough that a readback costs nothing. */
const STEPS_PER_LOOK = 8;

/**
 * Trains E routers for T rounds and returns their weights.
 *
 * All start from the same weights; round 1 trains on a random equal split, every later round on the balanced
 * assignment of N new sequences by the routers of the round before. Throws an `InputError` on impossible settings and
 * a `RunError` with step and router where a loss is not finite.
 */
export async function trainRouters(options: TrainRoutersOptions): Promise<Weights[]> {
  const { gpu, model, experts, prefix, rounds, roundSequences, batch, seed, state, signal } = options;
  check(options);
  const prefixLengths = options.prefixLengths?.length ? options.prefixLengths : [prefix];
  const total = roundSequences * experts;
  const stepsPerRound = Math.floor(roundSequences / batch);
  const start = initialWeights(model, seed);
  const trainer = createTrainer(gpu, {
    config: model,
    start: state?.trainer ?? Array<Weights>(experts).fill(start),
    batch,
    length: Math.max(...prefixLengths),
    settings: options,
  });
  const scorer = createScorer(gpu, {
    config: model,
    models: state?.trainer.weights ?? Array<Weights>(experts).fill(start),
    batch: rowsPerPass(gpu, model, prefix),
    length: prefix,
  });

  /** Draws nothing itself: scores and assigns the given sequences with the scorer's routers. */
  async function assignment(rows: Columns) {
    const sequenceLength = rows.tokens!.length / rows.rows;
    const nll = await scorer.score(rows.tokens!, sequenceLength, rows.length);
    const predicted = rows.length.map((length) => Math.max(1, Math.min(prefix, length) - 1));
    return { nll, predicted, expert: assignBalanced(nll, experts, predicted) };
  }

  try {
    let consumed = state?.consumed ?? 0;
    const next = options.open(consumed);
    let rows = await draw(next, total);
    consumed += total;
    let expert = state ? (await assignment(rows)).expert : randomAssignment(total, experts, seed);

    for (let round = (state?.round ?? 0) + 1; round <= rounds; round++) {
      const { trainingLoss, rate } = await trainRound(trainer, rows, expert, {
        ...options,
        prefixLengths,
        round,
        stepsPerRound,
      });
      const before = consumed;
      rows = await draw(next, total);
      consumed += total;
      scorer.load(await trainer.weights());
      const assigned = await assignment(rows);
      expert = assigned.expert;
      await options.onRound?.({
        round,
        nllPerToken: nllPerToken(assigned.nll, expert, experts, assigned.predicted),
        shares: shares(assigned.nll, experts),
        regret: regret(assigned.nll, expert, experts, assigned.predicted),
        nmi: new Set(rows.source).size < 2 ? null : normalizedMutualInformation(expert, rows.source!),
        trainingLoss,
        rate,
        steps: trainer.steps,
        sequences: consumed,
      }, async () => ({ round, consumed: before, trainer: await trainer.state() }));
      signal?.throwIfAborted();
    }
    return await trainer.weights();
  } finally {
    trainer.close();
    scorer.close();
  }
}

function check(
  { model, experts, prefix, prefixLengths, rounds, roundSequences, batch }: TrainRoutersOptions,
) {
  validateModelConfig(model, "a router");
  const wholes = { experts, prefix, rounds, roundSequences, routerBatch: batch };
  for (const [name, value] of Object.entries(wholes)) {
    if (Number.isSafeInteger(value) && value >= 1) continue;
    throw new InputError(
      say`Cannot train routers as ${setting(name)} must be a whole number >= 1: ${setting(name)} is ${value}`,
    );
  }
  for (const length of [prefix, ...(prefixLengths ?? [])]) {
    if (Number.isSafeInteger(length) && length >= 2 && length <= model.context) continue;
    throw new InputError(
      say`Cannot train routers as a prefix must have 2 to ${model.context} tokens, the sequence length: it is ${length}`,
    );
  }
  if (roundSequences < batch) {
    throw new InputError(
      say`Cannot train routers as a round must hold at least one batch per router: ${
        setting("roundSequences")
      } is ${roundSequences}, ${setting("routerBatch")} is ${batch}`,
    );
  }
}

async function draw(next: (n: number) => Promise<Columns>, n: number): Promise<Columns> {
  const rows = await next(n);
  if (rows.rows !== n || !rows.tokens) {
    throw new RangeError(
      `Cannot train routers as a round must hold ${n} sequences with tokens: it holds ${rows.rows}`,
    );
  }
  return rows;
}

/** The first assignment: a random permutation, dealt out in turn, so that all parts are equal. */
function randomAssignment(rows: number, experts: number, seed: number): Uint16Array {
  const expert = new Uint16Array(rows);
  permutation(rows, seed, "first assignment").forEach((row, i) => expert[row] = i % experts);
  return expert;
}

/** Takes one round's steps: every router on its own part, shuffled by (seed, round, router), the remainder dropped. */
async function trainRound(
  trainer: Trainer,
  rows: Columns,
  expert: Uint16Array,
  { experts, batch, seed, round, stepsPerRound, prefixLengths, rate, warmup, onStep, signal }:
    & TrainRoutersOptions
    & { prefixLengths: number[]; round: number; stepsPerRound: number },
): Promise<{ trainingLoss: number[]; rate: number }> {
  const length = Math.max(...prefixLengths);
  const stride = rows.tokens!.length / rows.rows;
  const parts = Array.from({ length: experts }, (_, router) => {
    const own: number[] = [];
    expert.forEach((chosen, row) => chosen === router && own.push(row));
    return Array.from(permutation(own.length, seed, `round ${round} router ${router}`), (i) => own[i]);
  });
  const input = emptyBatch(experts * batch, length);
  const loss = new Array<number>(experts).fill(0);
  let lastRate = 0;
  for (let step = 0; step < stepsPerRound; step++) {
    for (let router = 0; router < experts; router++) {
      for (let i = 0; i < batch; i++) {
        const row = parts[router][step * batch + i];
        const limit = prefixLengths.length === 1 ? length : prefixLengths[
          Number(
            randomBits(seed, `prefix lengths of round ${round}`, rows.sequence[row]) %
              BigInt(prefixLengths.length),
          )
        ];
        const real = Math.min(limit, rows.length[row]);
        placeSequence(input, router * batch + i, rows.tokens!, row * stride, real);
      }
    }
    lastRate = constantRate(trainer.steps + 1, { rate, warmup });
    trainer.step(input, lastRate);
    if ((step + 1) % STEPS_PER_LOOK !== 0 && step + 1 !== stepsPerRound) continue;
    for (const result of await trainer.drain()) {
      result.loss.forEach((value, router) => {
        if (!Number.isFinite(value) || !Number.isFinite(result.norm[router])) {
          throw new RunError(
            `Cannot go on training router ${router} as its loss must be finite: it is ${value} at step ${result.step} ` +
              `(round ${round})`,
            {
              remedy: say`make ${setting("routerRate")} smaller than ${rate} or ${
                setting("routerWarmup")
              } longer`,
            },
          );
        }
        loss[router] += value / stepsPerRound;
      });
    }
    onStep?.({ round, step: step + 1, steps: stepsPerRound });
    signal?.throwIfAborted();
  }
  return { trainingLoss: loss, rate: lastRate };
}
