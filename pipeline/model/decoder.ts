/**
 * A model that reads texts token by token and keeps the keys and values of what it has read. It has
 * slots, each of which holds a sequence at its own position. Sequences that go on at the same time
 * share one pass, one submit and one readback. A pass is a list of rows, each one token of some
 * slot. The bits of a row depend only on the tokens of its slot. So rows of prompts and of running
 * sequences may come in any order, and slots without rows cost nothing.
 */

import { InputError } from "../../kernels/errors.ts";
import { orDestroy } from "../../kernels/device/buffers.ts";
import type { Gpu } from "../../kernels/device/gpu.ts";
import { padded } from "../../kernels/device/matrix.ts";
import {
  CHOICE_VALUES,
  packChoices,
  sampleTokens,
} from "../../kernels/sample_token/sample_token.ts";
import type { Dtype } from "../../kernels/device/storage.ts";
import type { AdapterKind } from "../../kernels/device/variants.ts";
import type { ModelConfig } from "./shape.ts";
import { createBanks, type Weights } from "./parameters.ts";
import { checkIds } from "./batch.ts";
import { keepRecent } from "./passes.ts";
import { planForward, planLogits } from "./transformer.ts";

/** Tokens that a sequence reads next. */
export interface SlotTokens {
  /** The slot of the sequence, below the number of slots. */
  slot: number;
  /** At least one token. */
  tokens: ArrayLike<number>;
}

/** How the device chooses the tokens that it reads ahead. */
export interface Ahead {
  /** What logits are divided by; 0 takes the likeliest token. */
  temperature: number;
  /** Among that many likeliest tokens; 0 for all. */
  topK: number;
  /** Among the fewest tokens with that much probability. */
  topP: number;
  /** Ids that may be chosen: those below it. Default: all. */
  vocabulary?: number;
  /** Most tokens to read ahead. */
  most: number;
  /** Gives the number in [0, 1) that chooses the token after so many that were read ahead. */
  draw(token: number): number;
}

/** What a sequence has after a token, and the next one if the device has read it too. */
export interface ReadStep {
  /** Logits f32 `[vocabulary]`. */
  logits: Float32Array;
  /** What the device chose, in f32: near the border of two tokens it may be the other one. */
  next?: number;
}

/** Reads tokens and predicts the next ones, for several sequences side by side. */
export interface Decoder {
  /** Sequences that it holds. */
  readonly slots: number;
  /** Tokens that fit in each of them. */
  readonly capacity: number;
  /** Device memory held, in bytes. */
  readonly bytes: number;
  /** Counts the tokens that a slot has read so far. */
  length(slot: number): number;
  /**
   * Reads tokens after those that their slots have read so far; returns the logits f32
   * `[vocabulary]` after the last token of each entry, in the order of the entries. The bits depend
   * neither on the other slots nor on how a text is cut into calls.
   *
   * Throws an `InputError` where an entry has no token, no room, or an id outside the vocabulary;
   * nothing is read then.
   */
  read(entries: readonly SlotTokens[]): Promise<Float32Array[]>;
  /**
   * Reads tokens as {@linkcode Decoder.read} does. An entry with `ahead` also reads tokens that the
   * device itself chooses, while there is room, and all come back in one synchronisation: the steps
   * of each entry, from that after its last token on. {@linkcode Decoder.rewind} forgets those that
   * were not right.
   */
  readAhead(entries: readonly (SlotTokens & { ahead?: Ahead })[]): Promise<ReadStep[][]>;
  /** Forgets what a slot has read after its first `length` tokens. */
  rewind(slot: number, length: number): void;
  /** Forgets what a slot has read. */
  clear(slot: number): void;
  /** Frees the device memory. */
  close(): void;
}

/** What {@link createDecoder} takes. */
export interface DecoderOptions {
  /** Shape of the model. */
  config: ModelConfig;
  /** Its weights. */
  weights: Weights;
  /** Most tokens to read per slot: room for their keys and values is made at once. */
  capacity: number;
  /** Sequences side by side. Default 1. */
  slots?: number;
  /**
   * Tokens of all slots that run at once, at most; longer texts take several passes. Default 512,
   * at least `slots`.
   */
  longestPass?: number;
  /**
   * Tokens of a sequence that are read between two synchronisations, if it may be read ahead.
   * Default: 8 on a GPU, where a synchronisation takes as long as several tokens, 1 on a processor.
   */
  readEvery?: number;
  /** What matrices, activations, keys and values are stored in. Default: f32. */
  dtype?: Dtype;
}

/**
 * Passes that have more rows than slots are filled with idle rows up to a multiple of this. Prompts
 * have many lengths, and making a plan takes milliseconds, as long as hundreds of rows of a small
 * model take.
 */
const ROWS = 8;

/** Tokens between two synchronisations, by kind of adapter. */
const READ_EVERY: Record<AdapterKind, number> = { gpu: 8, software: 1 };

/**
 * Makes the buffers of one model with `slots` caches of `capacity` positions, and uploads its
 * weights.
 */
export function createDecoder(
  gpu: Gpu,
  { config, weights, capacity, slots = 1, longestPass = 512, dtype, ...options }: DecoderOptions,
): Decoder {
  const { vocabulary } = config;
  const { readEvery = READ_EVERY[gpu.kind] } = options;
  const longest = Math.max(slots, Math.min(longestPass, slots * capacity));
  const shape = { models: 1, batch: longest, length: 1 };
  const arena = gpu.arena();
  const logitRows = readEvery * slots; // row `step * slots + i` is that of entry i
  const { acts, banks: [{ bank }], choices, sampled } = orDestroy(arena, () => {
    const options = { training: false, capacity, slots, logitRows, dtype };
    return {
      ...createBanks(gpu, arena, config, [weights], shape, options),
      choices: arena.buffer("choices of tokens", 4 * CHOICE_VALUES * logitRows),
      sampled: arena.buffer("sampled tokens", 4 * logitRows),
    };
  });
  const stride = padded(vocabulary);
  const logits = acts.logits!;
  const forward = keepRecent((batch) =>
    planForward(gpu, bank, { ...acts, shape: { ...shape, batch } })
  );
  const head = keepRecent((rows, step) => [planLogits(gpu, bank, acts, rows, step * slots)]);
  const sampling = keepRecent((rows, step) => [
    sampleTokens(gpu, {
      choices,
      logits,
      stride,
      tokens: acts.tokens,
      sampled,
      first: step * slots,
      rows,
    }),
  ]);
  const lengths = new Uint32Array(slots);

  /** Submits the passes over what the entries give, up to the logits after their last tokens. */
  const submitTexts = (texts: readonly Uint32Array[], entrySlots: readonly number[]) => {
    const { ids, places } = placeRows(texts, entrySlots, lengths);
    for (let end = ids.length; end > 0;) {
      const first = end <= longest ? 0 : Math.max(texts.length, end - longest);
      const rows = end - first;
      const planned = rows <= slots ? rows : Math.min(longest, Math.ceil(rows / ROWS) * ROWS);
      places.fill(slots, 2 * end); // idle
      gpu.write(acts.tokens, ids.subarray(first, end));
      gpu.write(acts.cache!.places, places.subarray(2 * first, 2 * (first + planned)));
      gpu.submit(
        first > 0 ? forward.of(planned) : [...forward.of(planned), ...head.of(texts.length, 0)],
      );
      end = first;
    }
  };

  /** Submits the choice and the passes of the tokens to read ahead; row i is that of entry i. */
  const submitAhead = (
    aheads: readonly (Ahead | undefined)[],
    entrySlots: readonly number[],
    counts: readonly number[],
  ) => {
    const rows = entrySlots.length;
    for (let step = 0; counts.some((count) => count > step); step++) {
      const goesOn = counts.map((count) => count > step);
      const packed = packChoices(
        aheads.map((ahead, i) =>
          goesOn[i] && ahead
            ? { ...ahead, vocabulary: ahead.vocabulary ?? vocabulary, draw: ahead.draw(step) }
            : undefined
        ),
      );
      gpu.write(choices, packed, 4 * CHOICE_VALUES * step * slots);
      const places = Uint32Array.from(
        entrySlots.flatMap((slot, i) => goesOn[i] ? [slot, lengths[slot]++] : [slots, slots]),
      );
      gpu.write(acts.cache!.places, places);
      gpu.submit([
        ...sampling.of(rows, step),
        ...forward.of(rows),
        ...head.of(rows, step + 1),
      ]);
    }
  };

  const readAhead: Decoder["readAhead"] = async (entries) => {
    if (entries.length === 0) return [];
    const texts = entries.map(({ tokens }) => Uint32Array.from(tokens));
    const entrySlots = entries.map(({ slot }) => slot);
    if (new Set(entrySlots).size < entrySlots.length) {
      throw new RangeError(
        `Cannot read tokens as each slot must be named once: they are ${entrySlots}`,
      );
    }
    entrySlots.forEach((slot, i) =>
      checkTokens(texts[i], lengths[checkSlot(slot, slots)], capacity, vocabulary)
    );
    submitTexts(texts, entrySlots);
    const aheads = entries.map(({ ahead }) => ahead);
    const counts = entrySlots.map((slot, i) =>
      Math.min(readEvery - 1, aheads[i]?.most ?? 0, capacity - lengths[slot])
    );
    submitAhead(aheads, entrySlots, counts);
    const placesOf = counts.map((count, i) =>
      Array.from({ length: count + 1 }, (_, step) => step * slots + i)
    );
    const ranges = placesOf.flat().map((row) => ({
      buffer: logits,
      byteOffset: 4 * stride * row,
      bytes: 4 * vocabulary,
    }));
    const values = await gpu.read([{ buffer: sampled }, ...ranges]);
    const ids = new Uint32Array(values.shift()!);
    return placesOf.map((rows) =>
      rows.map((row, step) => ({
        logits: new Float32Array(values.shift()!),
        next: step + 1 < rows.length ? ids[row] : undefined,
      }))
    );
  };

  return {
    slots,
    capacity,
    get bytes() {
      return arena.bytes;
    },
    length: (slot) => lengths[checkSlot(slot, slots)],
    readAhead,
    read: async (entries) => {
      const texts = entries.map(({ slot, tokens }) => ({ slot, tokens }));
      return (await readAhead(texts)).map(([{ logits }]) => logits);
    },
    rewind(slot, length) {
      lengths[checkSlot(slot, slots)] = Math.min(length, lengths[slot]);
    },
    clear(slot) {
      lengths[checkSlot(slot, slots)] = 0;
    },
    close: () => arena.destroy(),
  };
}

function checkSlot(slot: number, slots: number): number {
  if (Number.isSafeInteger(slot) && slot >= 0 && slot < slots) return slot;
  throw new RangeError(`Cannot use a slot as it must be one of 0 to ${slots - 1}: it is ${slot}`);
}

/**
 * Puts tokens into rows, and adds them to the lengths of their slots. The last token of each entry,
 * whose logits are returned, comes first. The other tokens follow in reverse order, because passes
 * are cut from the end.
 */
function placeRows(
  texts: readonly Uint32Array[],
  entrySlots: readonly number[],
  lengths: Uint32Array,
): { ids: Uint32Array; places: Uint32Array } {
  const total = texts.reduce((sum, text) => sum + text.length, 0);
  const ids = new Uint32Array(total);
  const places = new Uint32Array(2 * (total + ROWS));
  let next = texts.length;
  entrySlots.forEach((slot, i) => {
    for (let token = texts[i].length - 1; token >= 0; token--) {
      const row = token === texts[i].length - 1 ? i : next++;
      ids[row] = texts[i][token];
      places.set([slot, lengths[slot] + token], 2 * row);
    }
    lengths[slot] += texts[i].length;
  });
  return { ids, places };
}

/** Throws an `InputError` unless a slot of `capacity` tokens that holds `length` can read these. */
function checkTokens(ids: Uint32Array, length: number, capacity: number, vocabulary: number): void {
  if (ids.length === 0 || length + ids.length > capacity) {
    throw new InputError(
      `Cannot read tokens as 1 to ${
        capacity - length
      } must be given: the cache of ${capacity} holds ` +
        `${length}, ${ids.length} are given`,
    );
  }
  checkIds(ids, vocabulary, "read tokens");
}
