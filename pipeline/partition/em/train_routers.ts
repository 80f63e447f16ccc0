/**
 * Router training by expectation maximisation (SmallTalk LM, Algorithm 1, stage 1). E small models learn to
 * split a corpus by the likelihood of a prefix. Between rounds they exchange nothing but one score per
 * sequence.
 */

import type { Gpu } from "../../../kernels/device/gpu.ts";
import { InputError, say, setting } from "../../../kernels/errors.ts";
import type { Weights } from "../../model/parameters.ts";
import { type ModelConfig, validateModelConfig } from "../../model/shape.ts";
import { prefixTokens } from "../../model/span.ts";
import type { TrainerState } from "../../model/trainer.ts";
import type { Columns } from "../../rows/columns.ts";
import type { RoundMetrics } from "../../run/events.ts";
import { checkSettings, type Configuration } from "../../settings/configuration.ts";
import { assignBalanced } from "../assignment/balanced.ts";
import { nllPerToken, normalizedMutualInformation, regret, shares } from "../metrics.ts";
import { openRouters, randomAssignment, type RouterSettings, type TokenColumns } from "./bank.ts";

/** Where router training stands between two rounds; enough to go on bit for bit. */
export interface RouterState {
  /** Rounds done. */
  round: number;
  /** Sequences drawn before this round's scoring. */
  consumed: number;
  /** Weights, moments and steps of all routers. */
  trainer: TrainerState;
}

/** What {@link trainRouters} takes apart from settings. Empty `prefixLengths` stand for M alone. */
export interface TrainRoutersOptions
  extends
    Omit<RouterSettings, "prefixLengths">,
    Pick<Configuration, "rounds">,
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
 * Trains E routers for T rounds and returns their weights.
 *
 * All start from the same weights. Round 1 trains on a random equal split, or on the parts that `begin`
 * gives. Every later round trains on the balanced assignment of N new sequences by the routers of the round
 * before. With `fixed` it keeps to the parts of `begin`.
 *
 * Throws an `InputError` on impossible settings, and a `RunError` with step and router where a loss is not
 * finite.
 */
export async function trainRouters(options: TrainRoutersOptions): Promise<Weights[]> {
  const {
    gpu,
    model,
    experts,
    rounds,
    roundSequences,
    seed,
    prefixLengths = [],
    begin,
    fixed,
    state,
    signal,
  } = options;
  check(options);
  const total = roundSequences * experts;
  let consumed = state?.consumed ?? 0;
  const next = options.open(consumed);
  const routers = Array.from({ length: experts }, (_, router) => router);
  const bank = openRouters(gpu, model, routers, { ...options, prefixLengths }, state?.trainer);

  async function draw(): Promise<TokenColumns & Columns> {
    const { tokens, ...rows } = await next(total);
    consumed += total;
    if (rows.rows === total && tokens) return { ...rows, tokens };
    throw new RangeError(
      `Cannot train routers as a round must hold ${total} sequences with tokens: it holds ${rows.rows}`,
    );
  }

  try {
    let rows = await draw();
    if (state && state.round >= rounds) return state.trainer.weights; // nothing is left to do but to have read what all rounds read
    let expert = begin && (fixed || !state)
      ? await begin(rows)
      : state
      ? assignRound(await bank.score(rows), rows, options).expert
      : randomAssignment(total, experts, seed);
    for (let round = (state?.round ?? 0) + 1; round <= rounds; round++) {
      const onStep = (step: number, steps: number) => options.onStep?.({ round, step, steps });
      const steps = await bank.train(round, rows, expert, onStep, signal);
      const before = consumed;
      rows = await draw();
      const nll = await bank.score(rows);
      const assigned = assignRound(nll, rows, options, begin && fixed ? await begin(rows) : undefined);
      expert = assigned.expert;
      await options.onRound?.(
        { round, ...assigned.measures, ...steps, sequences: consumed },
        async () => ({ round, consumed: before, trainer: await bank.state() }),
      );
      signal?.throwIfAborted();
    }
    return (await bank.state()).weights;
  } finally {
    bank.close();
  }
}

/**
 * Assigns the sequences of a round in equal parts by prefix NLLs `[rows, E]`, unless parts are given, and measures the routers that
 * gave these.
 */
export function assignRound(
  nll: Float32Array,
  { length, source }: Pick<Columns, "length" | "source">,
  { experts, prefix }: Pick<Configuration, "experts" | "prefix">,
  given?: Uint16Array,
): {
  expert: Uint16Array;
  measures: Pick<RoundMetrics, "nllPerToken" | "shares" | "regret" | "nmi">;
} {
  const predicted = length.map((real) => Math.max(1, prefixTokens(real, prefix)));
  const expert = given ?? assignBalanced(nll, experts, predicted);
  const measures = {
    nllPerToken: nllPerToken(nll, expert, experts, predicted),
    shares: shares(nll, experts),
    regret: regret(nll, expert, experts, predicted),
    nmi: new Set(source).size < 2 ? null : normalizedMutualInformation(expert, source!),
  };
  return { expert, measures };
}

const [BATCH, SEQUENCES] = ["routerBatch", "roundSequences"].map((name) => setting(name));

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
