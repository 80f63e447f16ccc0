/**
 * Router training by expectation maximisation (SmallTalk LM, Algorithm 1, stage 1). E small models learn to
 * split a corpus by the likelihood of a prefix. Between rounds they exchange nothing but one score per
 * sequence.
 */

import { InputError, RunError, say, setting } from "../../kernels/errors.ts";
import type { AdamwSettings } from "../../kernels/adamw/adamw.ts";
import { orDestroy } from "../../kernels/device/buffers.ts";
import type { Gpu } from "../../kernels/device/gpu.ts";
import type { Columns } from "../rows/columns.ts";
import { permutation, randomBits } from "../random.ts";
import { emptyBatch, placeSequence } from "../model/batch.ts";
import { type ModelConfig, validateModelConfig } from "../model/shape.ts";
import { initialWeights, type Weights } from "../model/parameters.ts";
import { createScorer } from "../model/scorer.ts";
import { prefixSpan, prefixTokens } from "../model/span.ts";
import { rowsPerPass } from "../model/passes.ts";
import { checkSettings, type Configuration } from "../settings/configuration.ts";
import { LossNotFiniteError } from "../training/loop.ts";
import { startPace } from "../training/pace.ts";
import { constantRate } from "../training/schedule.ts";
import { createTrainer } from "../model/trainer.ts";
import type { RoundScores, RouterShare } from "../partition/em/group.ts";
import type { RouterState } from "../partition/em/train_routers.ts";
import { assignBalanced } from "../partition/assignment/balanced.ts";
import type { RoundMetrics } from "../run/events.ts";
import { nllPerToken, normalizedMutualInformation, regret, shares } from "../partition/metrics.ts";

/** What {@link trainRouters} takes besides settings. Empty `prefixLengths` stand for M alone. */
export interface TrainRoutersOptions
  extends
    AdamwSettings,
    Pick<Configuration, "experts" | "prefix" | "rounds" | "roundSequences" | "seed">,
    Pick<Configuration, "routerBatch" | "routerRate" | "routerWarmup">,
    Partial<Pick<Configuration, "prefixLengths">> {
  /** The open device. */
  gpu: Gpu;
  /** Shape of a router. */
  model: ModelConfig;
  /** Opens the stream of training sequences after `consumed` of them; the result returns the next `n`, without end. */
  open(consumed: number): (n: number) => Promise<Columns>;
  /**
   * Gives the parts that the first round trains on, instead of random ones: the expert of each row. Every
   * expert gets equally many rows.
   */
  begin?(rows: Columns): Promise<Uint16Array>;
  /** Whether every round trains on parts of {@linkcode begin}. */
  fixed?: boolean;
  /** Trains these routers alone, with processes that train the others; all of them unless given. */
  share?: RouterShare;
  /** Resumes after a round. */
  state?: RouterState;
  /** Called after every round; `state` reads what a later run resumes from. */
  onRound?(metrics: RoundMetrics, state: () => Promise<RouterState>): Promise<void> | void;
  /** Called as steps finish. */
  onStep?(progress: { round: number; step: number; steps: number }): void;
  /** Stops between steps. */
  signal?: AbortSignal;
}

/**
 * Trains E routers, or a share of them, for T rounds and returns their weights.
 *
 * All start from the same weights. Round 1 trains on a random equal split, or on the parts that `begin`
 * gives. Every later round trains on the balanced assignment of N new sequences by the routers of the round
 * before, unless `fixed` keeps the parts of `begin`. Processes that train a share each draw and assign the
 * same sequences, exchange one score per sequence and router, and get the bits of one process.
 *
 * Throws an `InputError` on impossible settings, and a `RunError` with step and router where a loss is not
 * finite.
 */
export async function trainRouters(options: TrainRoutersOptions): Promise<Weights[]> {
  const { gpu, model, experts, prefix, rounds, roundSequences, seed, state, signal, onStep } = options;
  const { routerBatch: batch, routerRate, routerWarmup: warmup } = options;
  check(options);
  const { share } = options;
  const { first, count: own } = share ?? { first: 0, count: experts };
  const prefixLengths = options.prefixLengths?.length ? options.prefixLengths : [prefix];
  const length = Math.max(...prefixLengths);
  const total = roundSequences * experts;
  const steps = Math.floor(roundSequences / batch);
  let consumed = state?.consumed ?? 0;
  const next = options.open(consumed);
  const models = state?.trainer.weights ?? Array<Weights>(own).fill(initialWeights(model, seed));
  const start = state?.trainer ?? models;
  const settings = { config: model, start, batch, length, settings: options, asInBankOf: experts };
  const trainer = createTrainer(gpu, settings);
  const scorer = orDestroy({ destroy: trainer.close }, () => {
    const rowsPerScore = rowsPerPass(gpu.maxBindingBytes, model, prefix);
    return createScorer(gpu, { config: model, models, batch: rowsPerScore, length: prefix });
  });

  async function draw(): Promise<Columns> {
    const rows = await next(total);
    consumed += total;
    if (rows.rows === total && rows.tokens) return rows;
    throw new RangeError(
      `Cannot train routers as a round must hold ${total} sequences with tokens: it holds ${rows.rows}`,
    );
  }

  /** Makes what scores the given sequences with the routers as they are, beside their losses of the round before. */
  const scoring = (rows: Columns, losses: number[]) => async (): Promise<RoundScores> => {
    const nll = await scorer.score(rows.tokens!, rows.tokens!.length / rows.rows, rows.length);
    return { nll, trainingLoss: losses };
  };

  /** Draws nothing itself: scores and assigns the given sequences with the routers as they are after a round. */
  async function assignment(rows: Columns, round: number, losses: number[]) {
    const score = scoring(rows, losses);
    const { nll, trainingLoss } = share ? await share.exchange(round, score) : await score();
    const predicted = rows.length.map((length) => Math.max(1, prefixTokens(length, prefix)));
    return { nll, trainingLoss, predicted, expert: assignBalanced(nll, experts, predicted) };
  }

  /** Gives the prefix length of a sequence in a round. */
  function prefixOf(round: number, sequence: bigint): number {
    if (prefixLengths.length === 1) return length;
    const bits = randomBits(seed, `prefix lengths of round ${round}`, sequence);
    return prefixLengths[Number(bits % BigInt(prefixLengths.length))];
  }

  /** Takes one round's steps: each of these routers on its own part, shuffled by (seed, round, router), the remainder dropped. */
  async function trainRound(round: number, rows: Columns, expert: Uint16Array) {
    const stride = rows.tokens!.length / rows.rows;
    const parts = Array.from({ length: own }, (_, place) => {
      const router = first + place;
      const part: number[] = [];
      expert.forEach((chosen, row) => chosen === router && part.push(row));
      return Array.from(permutation(part.length, seed, `round ${round} router ${router}`), (i) => part[i]);
    });
    const input = emptyBatch(own * batch, length);
    const pace = startPace(undefined, gpu.kind);
    const trainingLoss = new Array<number>(own).fill(0);
    let rate = 0;
    for (let step = 1; step <= steps; step++) {
      for (let place = 0; place < own * batch; place++) {
        const row = parts[Math.floor(place / batch)][(step - 1) * batch + place % batch];
        const real = prefixSpan(rows.length[row], prefixOf(round, rows.sequence[row])).end;
        placeSequence(input, place, rows.tokens!, row * stride, real);
      }
      rate = constantRate(trainer.steps + 1, { rate: routerRate, warmup });
      trainer.step(input, rate);
      if (!pace.step() && step !== steps && !signal?.aborted) continue;
      for (const result of await trainer.drain()) {
        result.loss.forEach((loss, place) => {
          if (!Number.isFinite(loss) || !Number.isFinite(result.norm[place])) {
            throw new RunError(
              `Cannot go on training router ${
                first + place
              } as its loss must be finite: it is ${loss} at step ${result.step} ` +
                `(round ${round})`,
              {
                remedy: say`make ${RATE} smaller than ${routerRate} or ${setting("routerWarmup")} longer`,
                cause: new LossNotFiniteError(result.step, loss, result.norm[place]),
              },
            );
          }
          trainingLoss[place] += loss / steps;
        });
      }
      pace.looked();
      onStep?.({ round, step, steps });
      signal?.throwIfAborted();
    }
    return { trainingLoss, rate };
  }

  try {
    let rows = await draw();
    const losses = share?.trainingLoss ?? []; // of a process that trains all routers nobody asks for them again
    if (state) await share?.give(state.round, scoring(rows, losses)); // whoever is behind needs them, whatever comes now
    if (state && state.round >= rounds) return state.trainer.weights; // nothing is left to do but to have read what all rounds read
    let expert = options.begin && (options.fixed || !state)
      ? await options.begin(rows)
      : state
      ? (await assignment(rows, state.round, losses)).expert
      : randomAssignment(total, experts, seed);
    for (let round = (state?.round ?? 0) + 1; round <= rounds; round++) {
      const { trainingLoss: losses, rate } = await trainRound(round, rows, expert);
      const before = consumed;
      rows = await draw();
      scorer.load(await trainer.weights());
      const { nll, trainingLoss, predicted, ...assigned } = await assignment(rows, round, losses);
      expert = options.begin && options.fixed ? await options.begin(rows) : assigned.expert;
      await options.onRound?.({
        round,
        nllPerToken: nllPerToken(nll, expert, experts, predicted),
        shares: shares(nll, experts),
        regret: regret(nll, expert, experts, predicted),
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

const [RATE, BATCH, SEQUENCES] = ["routerRate", "routerBatch", "roundSequences"].map((name) => setting(name));

function check(
  { model, experts, prefix, prefixLengths = [], rounds, roundSequences, routerBatch }: TrainRoutersOptions,
) {
  validateModelConfig(model, "a router");
  checkSettings({ experts, prefix, prefixLengths, rounds, roundSequences, routerBatch });
  const long = [prefix, ...prefixLengths].find((length) => length > model.context);
  if (long !== undefined) {
    throw new InputError(
      `Cannot train routers as a prefix must have 2 to ${model.context} tokens, the sequence length: it is ${long}`,
    );
  }
  if (roundSequences < routerBatch) {
    throw new InputError(
      say`Cannot train routers as a round must hold at least one batch per router: ${SEQUENCES} is ${roundSequences}, ${BATCH} is ${routerBatch}`,
    );
  }
}

/** The first assignment: a random permutation, dealt out in turn, so that all parts are equal. */
function randomAssignment(rows: number, experts: number, seed: number): Uint16Array {
  const expert = new Uint16Array(rows);
  permutation(rows, seed, "first assignment").forEach((row, i) => expert[row] = i % experts);
  return expert;
}
