/**
 * A random order of n things as a function: place i of the order is computed, so no table is held
 * and nothing is moved.
 *
 * A Feistel network permutes the numbers below the next power of four. A number that lands at n or
 * above goes through it again until it is below n ("cycle walking", four passes at most on
 * average). Black, Rogaway, "Ciphers with Arbitrary Finite Domains", CT-RSA 2002, section 4. Not
 * for secrets.
 *
 * @module
 */

import { randomKeys } from "../random.ts";

const ROUNDS = 12; // six were measurably biased at small n, with keys of neighbouring seeds
const MOST = 2 ** 52; // then a half has 26 bits, and doubles are exact

/** What decides an order next to n. */
export interface OrderOptions {
  /** Seed of the run, 0 to 2^53 - 1. */
  seed: number;
  /** What the order is for. */
  purpose: string;
  /** Number of the pass, 0 unless given; each has an order of its own. */
  epoch?: number;
}

/** A random order of 0 … n - 1. */
export class Order {
  readonly #keys: Uint32Array;
  readonly #half: number; // bits

  /** Takes n from 1 to 2^52; otherwise it throws a `RangeError`. */
  constructor(readonly n: number, { seed, purpose, epoch = 0 }: OrderOptions) {
    if (!(Number.isInteger(n) && n >= 1 && n <= MOST)) {
      throw new RangeError(`Cannot order as n must be an integer from 1 to 2^52: n is ${n}`);
    }
    this.#half = 1;
    while (4 ** this.#half < n) this.#half++;
    const blocks = BigUint64Array.from(
      { length: ROUNDS / 2 },
      (_, k) => BigInt(epoch * ROUNDS / 2 + k),
    );
    this.#keys = new Uint32Array(randomKeys(seed, purpose, blocks).buffer); // a key per round
  }

  /** Returns the number at place i. Every number stands at exactly one place. */
  at(i: number): number {
    if (!(i >= 0 && i < this.n)) {
      throw new RangeError(
        `Cannot look up an order as i must be from 0 to ${this.n - 1}: i is ${i}`,
      );
    }
    const keys = this.#keys;
    const size = 2 ** this.#half;
    const mask = size - 1;
    do {
      let left = Math.floor(i / size);
      let right = i & mask;
      for (let round = 0; round < ROUNDS; round++) {
        // MurmurHash3's finalizer, from its first product on.
        let x = Math.imul(right ^ keys[round], 0x85ebca6b);
        x = Math.imul(x ^ x >>> 13, 0xc2b2ae35);
        const next = left ^ ((x ^ x >>> 16) & mask);
        left = right;
        right = next;
      }
      i = left * size + right;
    } while (i >= this.n);
    return i;
  }
}
