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
import type { Dtype } from "../../kernels/device/storage.ts";
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
  /** What matrices, activations, keys and values are stored in. Default: f32. */
  dtype?: Dtype;
}

/**
 * Passes that have more rows than slots are filled with idle rows up to a multiple of this. Prompts
 * have many lengths, and making a plan takes milliseconds, as long as hundreds of rows of a small
 * model take.
 */
const ROWS = 8;

/**
 * Makes the buffers of one model with `slots` caches of `capacity` positions, and uploads its
 * weights.
 */
export function createDecoder(
  gpu: Gpu,
  { config, weights, capacity, slots = 1, longestPass = 512, dtype }: DecoderOptions,
): Decoder {
  const { vocabulary } = config;
  const longest = Math.max(slots, Math.min(longestPass, slots * capacity));
  const shape = { models: 1, batch: longest, length: 1 };
  const arena = gpu.arena();
  const { acts, banks: [{ bank }] } = orDestroy(arena, () => {
    const options = { training: false, capacity, slots, dtype };
    return createBanks(gpu, arena, config, [weights], shape, options);
  });
  const forward = keepRecent((batch) =>
    planForward(gpu, bank, { ...acts, shape: { ...shape, batch } })
  );
  const head = keepRecent((rows) => [planLogits(gpu, bank, acts, rows)]);
  const lengths = new Uint32Array(slots);

  return {
    slots,
    capacity,
    get bytes() {
      return arena.bytes;
    },
    length: (slot) => lengths[checkSlot(slot, slots)],
    async read(entries) {
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
      const { ids, places } = placeRows(texts, entrySlots, lengths);
      for (let end = ids.length; end > 0;) {
        const first = end <= longest ? 0 : Math.max(entries.length, end - longest);
        const rows = end - first;
        const planned = rows <= slots ? rows : Math.min(longest, Math.ceil(rows / ROWS) * ROWS);
        places.fill(slots, 2 * end); // idle
        gpu.write(acts.tokens, ids.subarray(first, end));
        gpu.write(acts.cache!.places, places.subarray(2 * first, 2 * (first + planned)));
        gpu.submit(
          first > 0 ? forward.of(planned) : [...forward.of(planned), ...head.of(entries.length)],
        );
        end = first;
      }
      const rows = entrySlots.map((_, i) => ({
        buffer: acts.logits!,
        byteOffset: i * padded(vocabulary) * 4,
        bytes: vocabulary * 4,
      }));
      return (await gpu.read(rows)).map((values) => new Float32Array(values));
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
