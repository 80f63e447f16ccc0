/**
 * Counter-based random numbers: Philox4x32-10 keyed by seed, purpose and index.
 *
 * There is no hidden state: every number is a function of (seed, purpose, index), so any part of a
 * run can be redone alone and gives the same bits. Not for secrets.
 *
 * Philox: Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011,
 * section 4.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { InputError } from "../kernels/errors.ts";

const M0 = 0xd2511f53;
const M1 = 0xcd9e8d57;
const W0 = 0x9e3779b9; // golden ratio
const W1 = 0xbb67ae85; // sqrt(3) - 1
const TWO_32 = 2 ** 32;

/** High 32 bits of the unsigned product a·b, whose full 64 bits a double cannot hold. */
function multiplyHigh(a: number, b: number): number {
  const a0 = a & 0xffff;
  const a1 = a >>> 16;
  const b0 = b & 0xffff;
  const b1 = b >>> 16;
  const middle = a1 * b0 + ((a0 * b0) >>> 16); // < 2^33
  const cross = a0 * b1 + (middle & 0xffff); // < 2^33; & takes the low bits exactly
  return (a1 * b1 + Math.floor(middle / 65536) + Math.floor(cross / 65536)) >>> 0;
}

/** Writes the block of `counter` under `key` into `out[0..3]`; all are unsigned 32-bit integers. */
function block(
  out: Uint32Array,
  c0: number,
  c1: number,
  c2: number,
  c3: number,
  k0: number,
  k1: number,
): void {
  for (let round = 0; round < 10; round++) {
    const high0 = multiplyHigh(M0, c0);
    const low0 = Math.imul(M0, c0);
    const high1 = multiplyHigh(M1, c2);
    const low1 = Math.imul(M1, c2);
    c0 = (high1 ^ c1 ^ k0) >>> 0;
    c1 = low1 >>> 0;
    c2 = (high0 ^ c3 ^ k1) >>> 0;
    c3 = low0 >>> 0;
    k0 = (k0 + W0) >>> 0;
    k1 = (k1 + W1) >>> 0;
  }
  out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

/**
 * Returns the four u32 of Philox4x32-10 for a counter of four u32 and a key of two (Salmon et al.,
 * section 4.3).
 */
export function philox(counter: ArrayLike<number>, key: ArrayLike<number>): Uint32Array {
  const out = new Uint32Array(4);
  block(out, counter[0], counter[1], counter[2], counter[3], key[0], key[1]);
  return out;
}

/** Throws an InputError unless `seed` is an integer from 0 to 2^53 − 1. */
export function checkSeed(seed: number): void {
  if (!Number.isSafeInteger(seed) || seed < 0) {
    throw new InputError(
      `Cannot draw random numbers as seed must be an integer from 0 to 2^53 - 1: seed is ${seed}`,
    );
  }
}

/** 64-bit FNV-1a of the UTF-8 bytes of a purpose, as [low, high]. */
function hashPurpose(purpose: string): [number, number] {
  let hash = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode(purpose)) {
    hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  }
  return [Number(hash & 0xffffffffn), Number(hash >> 32n)];
}

/** A function that fills `out` (4 u32) with block number `high·2^32 + low` of a stream. */
type Blocks = (out: Uint32Array, low: number, high?: number) => void;

/**
 * The stream of (seed, purpose): the key is the seed, the counter is (block number, hash of the
 * purpose).
 */
function randomBlocks(seed: number, purpose: string): Blocks {
  checkSeed(seed);
  const k0 = seed >>> 0;
  const k1 = Math.floor(seed / TWO_32);
  const [p0, p1] = hashPurpose(purpose);
  return (out, low, high = 0) => block(out, low, high, p0, p1, k0, k1);
}

/** Returns 64 random bits, a bigint in 0..2^64 − 1, for `index` in 0..2^64 − 1. */
export function randomBits(seed: number, purpose: string, index: number | bigint): bigint {
  return randomKeys(seed, purpose, BigUint64Array.of(BigInt(index)))[0];
}

/** Returns `randomBits` of every index, in one pass: 64-bit keys to sort or split rows by. */
export function randomKeys(seed: number, purpose: string, indices: BigUint64Array): BigUint64Array {
  const keys = new BigUint64Array(indices.length);
  const words = new Uint32Array(keys.buffer);
  // Little-endian halves.
  const from = new Uint32Array(indices.buffer, indices.byteOffset, indices.length * 2);
  const blocks = randomBlocks(seed, purpose);
  const out = new Uint32Array(4);
  for (let i = 0; i < keys.length; i++) {
    blocks(out, from[2 * i], from[2 * i + 1]);
    words[2 * i] = out[0];
    words[2 * i + 1] = out[1];
  }
  return keys;
}

/** Returns a number in [0, 1) with 53 random bits, for `index` in 0..2^64 − 1. */
export function uniform(seed: number, purpose: string, index: number | bigint): number {
  return Number(randomBits(seed, purpose, index) >> 11n) / 2 ** 53;
}

/**
 * Gives a text its index, for numbers that depend on what it says alone: the first 64 bits of its
 * SHA-256.
 */
export function indexOfText(text: string): bigint {
  return createHash("sha256").update(text).digest().readBigUInt64LE(0);
}

/**
 * Returns the integers 0..n − 1 in random order, u32 `[n]`: Fisher–Yates with a 53-bit draw per
 * position.
 */
export function permutation(n: number, seed: number, purpose: string): Uint32Array {
  const order = new Uint32Array(n);
  for (let i = 0; i < n; i++) order[i] = i;
  const blocks = randomBlocks(seed, purpose);
  const out = new Uint32Array(4);
  for (let i = n - 1; i > 0; i--) {
    // One block serves positions 2k and 2k + 1.
    if (i === n - 1 || i % 2 === 1) blocks(out, i >>> 1);
    const at = 2 * (i % 2);
    const draw = (out[at] * 2 ** 21 + (out[at + 1] >>> 11)) / 2 ** 53;
    const j = Math.floor(draw * (i + 1));
    const swapped = order[i];
    order[i] = order[j];
    order[j] = swapped;
  }
  return order;
}

/**
 * Returns n draws of the standard normal distribution, f32 `[n]`, by Box–Muller; none is beyond
 * ±6.8.
 */
export function normals(n: number, seed: number, purpose: string): Float32Array {
  const values = new Float32Array(n);
  const blocks = randomBlocks(seed, purpose);
  const out = new Uint32Array(4);
  for (let i = 0; i < n; i++) {
    const pair = i % 4;
    if (pair === 0) blocks(out, i / 4);
    const at = pair & 2;
    // + 0.5 keeps log away from 0.
    const radius = Math.sqrt(-2 * Math.log((out[at] + 0.5) / TWO_32));
    const angle = 2 * Math.PI * (out[at + 1] / TWO_32);
    values[i] = radius * (pair % 2 === 0 ? Math.cos(angle) : Math.sin(angle));
  }
  return values;
}
