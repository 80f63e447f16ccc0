/**
 * Scores several continuations of a text. The tokens of the text are computed once for all of them,
 * and logits only at the positions that predict a token of a continuation. The bits are those of a
 * {@link Scorer} that reads every text with its continuation from the beginning: attention runs
 * over the same sequences, whose rows are gathered for it.
 */

import { InputError } from "../../kernels/errors.ts";
import { orDestroy } from "../../kernels/device/buffers.ts";
import type { Gpu, GpuBuffer } from "../../kernels/device/gpu.ts";
import type { ModelConfig } from "./shape.ts";
import { createBanks, type Weights } from "./parameters.ts";
import { checkIds } from "./batch.ts";
import { keepRecent } from "./passes.ts";
import { planForward, planLoss } from "./transformer.ts";

/** A text and what may follow it. */
interface Branching {
  context: Uint32Array; // tokens of the text, at least one
  /** Tokens of each continuation, at least one; the last one is only predicted. */
  continuations: readonly Uint32Array[];
}

/** How likely a model finds a continuation. */
interface ContinuationScore {
  /**
   * Log-probability of every token, given the text and the tokens before it, nats f32 `[tokens]`.
   */
  logProbability: Float32Array;
  /** Id of the likeliest token in each place `[tokens]`; the lowest of equally likely ones. */
  likeliest: Uint32Array;
  /** Log-probability of the likeliest token, nats f32 `[tokens]`. */
  highest: Float32Array;
  /** Whether greedy decoding would write it: every token is the likeliest in its place. */
  greedy: boolean;
}

/**
 * Scores continuations with one model. The result of a continuation does not depend on what is
 * scored with it.
 */
export interface BranchScorer {
  readonly bytes: number; // device memory held, in bytes
  readonly rows: number; // rows that have gone through the model so far: tokens that were computed
  readonly plans: number; // plans of passes that are kept
  /**
   * Scores the continuations of texts. Throws an `InputError` where a text or a continuation is
   * empty, or both together have more than S + 1 tokens. Also where a token id is outside the
   * vocabulary. `signal` ends it between two passes.
   */
  score(texts: readonly Branching[], signal?: AbortSignal): Promise<ContinuationScore[][]>;
  close(): void; // frees the device memory
}

/** What {@link createBranchScorer} takes. */
interface BranchScorerOptions {
  config: ModelConfig; // shape of the model; its context is S
  weights: Weights; // its weights
  /** How many sequences of S tokens a pass has room for. Of shorter ones it takes more. */
  batch: number;
}

/**
 * The numbers of rows and of predicting rows of a pass are rounded up to multiples of this, so that
 * few plans are made.
 */
const ROWS = 256;
const SEQUENCES = 8; // the number of sequences of a pass is rounded up to multiples of this
/**
 * Lengths of sequences are rounded up to multiples of this. At any multiple, attention works in the
 * same blocks.
 */
const LENGTH = 64;

/**
 * Plans that are kept: a server that scores texts of all lengths would come to thousands of them.
 */
const MOST_PLANS = 32;

const roundUp = (count: number, multiple: number, most: number) =>
  Math.min(most, Math.ceil(count / multiple) * multiple);

/** Makes the buffers for batches of continuations, and uploads the weights. */
export function createBranchScorer(
  gpu: Gpu,
  { config, weights, batch }: BranchScorerOptions,
): BranchScorer {
  const { context: longest, vocabulary } = config;
  const room = batch * longest; // most rows, and most tokens of sequences
  const shape = { models: 1, batch: room, length: 1 };
  const arena = gpu.arena();
  const gathered = { models: 1, batch, length: longest };
  const { acts, banks: [{ bank }], details } = orDestroy(arena, () => ({
    ...createBanks(gpu, arena, config, [weights], shape, { training: false, gathered }),
    details: {
      likeliest: arena.buffer("likeliest tokens", room * 4),
      least: arena.buffer("their NLLs", room * 4),
    },
  }));
  let computed = 0;
  /** Plans a pass of `rows` rows, the first `predicting` of which predict a token. */
  const plans = keepRecent((rows, predicting, sequences, length) => {
    const gathering = { ...acts.gathering!, shape: { models: 1, batch: sequences, length } };
    const head = { ...acts, shape: { ...shape, batch: predicting } };
    return [
      ...planForward(gpu, bank, { ...acts, gathering, shape: { ...shape, batch: rows } }),
      planLoss(gpu, bank, head, details),
    ];
  }, MOST_PLANS);

  /**
   * Runs a pass. Returns the NLLs of its predicting rows, their likeliest tokens and NLLs of these.
   */
  async function run(texts: readonly Branching[], pass: BranchPass): Promise<Float32Array[]> {
    const { placed, predicting, shared, length } = pass;
    const rows = roundUp(predicting + shared, ROWS, room);
    const heads = roundUp(predicting, ROWS, room);
    const sequences = roundUp(placed.length, SEQUENCES, Math.floor(room / length));
    const { tokens, targets, places, gather } = layOutPass(texts, pass, { rows, heads, sequences });
    gpu.write(acts.tokens, tokens);
    // A row is a sequence of two tokens: the one that it reads and the next. Padding has none.
    gpu.write(acts.lengths, new Uint32Array(rows).fill(2, 0, predicting + shared));
    gpu.write(acts.targets, targets);
    gpu.write(acts.weights, new Float32Array(heads).fill(1, 0, predicting));
    gpu.write(acts.gathering!.rows, gather);
    gpu.write(acts.gathering!.places, places);
    gpu.submit(plans.of(rows, heads, sequences, length));
    computed += rows;
    return await readFloats(gpu, [acts.nll, details.likeliest, details.least], predicting);
  }

  return {
    get bytes() {
      return arena.bytes;
    },
    get rows() {
      return computed;
    },
    get plans() {
      return plans.count;
    },
    async score(texts, signal) {
      for (const text of texts) checkTokens(text, longest, vocabulary);
      const scores = texts.map(({ continuations }) =>
        new Array<ContinuationScore>(continuations.length)
      );
      for (const pass of cutPasses(texts, room, longest)) {
        signal?.throwIfAborted();
        const rows = await run(texts, pass);
        for (const { text, continuation, first } of pass.placed) {
          const targets = texts[text].continuations[continuation];
          scores[text][continuation] = toScore(
            targets,
            rows.map((values) => values.subarray(first, first + targets.length)),
          );
        }
      }
      return scores;
    },
    close: () => arena.destroy(),
  };
}

/** Reads the first `count` f32 values of each buffer. */
async function readFloats(
  gpu: Gpu,
  buffers: readonly GpuBuffer[],
  count: number,
): Promise<Float32Array[]> {
  const values = await gpu.read(buffers.map((buffer) => ({ buffer, bytes: count * 4 })));
  return values.map((bytes) => new Float32Array(bytes));
}

/** Makes the score of a continuation from its rows' NLLs, likeliest tokens and NLLs of these. */
function toScore(targets: Uint32Array, [nll, ids, least]: Float32Array[]): ContinuationScore {
  const likeliest = Uint32Array.from(ids);
  return {
    logProbability: nll.map((value) => 0 - value),
    likeliest,
    highest: least.map((value) => 0 - value),
    greedy: targets.every((id, i) => likeliest[i] === id),
  };
}

function checkTokens(
  { context, continuations }: Branching,
  longest: number,
  vocabulary: number,
): void {
  for (const continuation of continuations) {
    const total = context.length + continuation.length;
    if (context.length === 0 || continuation.length === 0 || total > longest + 1) {
      throw new InputError(
        `Cannot score a continuation as it and its text must have a token each, and at most ${
          longest + 1
        } together: they have ${continuation.length} and ${context.length}`,
      );
    }
    for (const ids of [context, continuation]) checkIds(ids, vocabulary, "score a continuation");
  }
}

/** A continuation in a pass. */
interface PlacedContinuation {
  text: number;
  continuation: number;
  sequence: number;
  first: number; // its first row of those that predict
  /**
   * First of the rows that all continuations of the text share, counted among the rows that predict
   * nothing.
   */
  shared: number;
}

/** What goes through the model in one pass. */
interface BranchPass {
  placed: PlacedContinuation[];
  predicting: number; // rows that predict
  shared: number; // rows of texts as well
  length: number; // tokens per sequence
}

/**
 * Puts continuations into passes of at most `room` rows and `room` tokens of sequences.
 * Continuations of one text lie side by side, and short texts come together, so that sequences have
 * little padding.
 */
function* cutPasses(
  texts: readonly Branching[],
  room: number,
  longest: number,
): Generator<BranchPass> {
  const countTokens = ({ context, continuations }: Branching) =>
    context.length - 1 + continuations.reduce((most, { length }) => Math.max(most, length), 0);
  const order = [...texts.keys()].sort((a, b) =>
    countTokens(texts[a]) - countTokens(texts[b]) || a - b
  );
  let pass: BranchPass = { placed: [], predicting: 0, shared: 0, length: 0 };
  for (const text of order) {
    const { context, continuations } = texts[text];
    const contextRows = context.length - 1;
    let shared: number | undefined; // where this text's tokens are in the pass
    for (const [continuation, { length: predicted }] of continuations.entries()) {
      const fits = (addedRows: number) => {
        const filled = roundUp(Math.max(pass.length, contextRows + predicted), LENGTH, longest);
        return (pass.placed.length + 1) * filled <= room &&
          pass.predicting + predicted + pass.shared + addedRows <= room;
      };
      if (pass.placed.length > 0 && !fits(shared === undefined ? contextRows : 0)) {
        yield pass;
        pass = { placed: [], predicting: 0, shared: 0, length: 0 };
        shared = undefined;
      }
      if (shared === undefined) {
        shared = pass.shared;
        pass.shared += contextRows;
      }
      const sequence = pass.placed.length;
      pass.placed.push({ text, continuation, sequence, first: pass.predicting, shared });
      pass.predicting += predicted;
      pass.length = roundUp(Math.max(pass.length, contextRows + predicted), LENGTH, longest);
    }
  }
  if (pass.placed.length > 0) yield pass;
}

/** Fills the buffers of a pass: tokens and targets of its rows, and the rows of its sequences. */
function layOutPass(
  texts: readonly Branching[],
  { placed, predicting, length }: BranchPass,
  { rows, heads, sequences }: { rows: number; heads: number; sequences: number },
) {
  const tokens = new Uint32Array(rows);
  const targets = new Uint32Array(heads);
  const places = new Uint32Array(rows);
  const gather = new Uint32Array(sequences * length);
  for (const { text, continuation, sequence, first, shared } of placed) {
    const { context, continuations } = texts[text];
    const put = (row: number, token: number, position: number) => {
      tokens[row] = token;
      gather[sequence * length + position] = row;
      places[row] = sequence * length + position;
    };
    // All continuations share the rows of the text but for its last token, which predicts the first
    // token of each.
    const contextRows = context.length - 1;
    for (let i = 0; i < contextRows; i++) put(predicting + shared + i, context[i], i);
    continuations[continuation].forEach((target, i, targetTokens) => {
      put(first + i, i === 0 ? context[contextRows] : targetTokens[i - 1], contextRows + i);
      targets[first + i] = target;
    });
  }
  return { tokens, targets, places, gather };
}
