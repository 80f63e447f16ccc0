/**
 * Prices that were learned once assign any other text of the same kind: each row goes where cost +
 * price is lowest, and no other row matters for that. So different machines can assign the parts of
 * a corpus, and new text is shared out as the old text was.
 */

import * as v from "valibot";
import { type FileRecord, jsonText, writeAtomic } from "../../graph/files.ts";
import { finite, isSealed, readJson, seal } from "../../graph/schema.ts";
import { assignArgmax, type Assignment, Certificate, checkWidth } from "./assignment.ts";

/** Version of the file that this code writes, and the newest that it reads. */
const FORMAT = 1;

const POSITIVE = v.pipe(v.number(), v.safeInteger(), v.minValue(1));

const SCHEMA = v.pipe(
  v.record(v.string(), v.unknown()),
  v.check(
    (note) => !("checksum" in note) || isSealed(note),
    "its checksum is not that of what it says",
  ),
  v.object({
    format: v.pipe(POSITIVE, v.maxValue(FORMAT, "it must be of this version or an older one")),
    /** The method that found the prices. */
    method: v.string(),
    /** E. */
    experts: POSITIVE,
    /** Rows that they were learned on. */
    rows: POSITIVE,
    /** M of the costs, in tokens, where it is known. */
    prefix: v.optional(POSITIVE),
    /** SHA-256 of the partitioner whose costs they are added to, where it is known. */
    partitioner: v.optional(v.string()),
    /** Amounts to add to the costs of each expert `[E]`, nats. */
    prices: v.array(finite),
  }),
  v.check(
    ({ experts, prices }) => prices.length === experts,
    "prices must be one for every expert",
  ),
);

/**
 * Prices, and what they were learned on.
 *
 * @ignore
 */
export type Prices = Omit<v.InferOutput<typeof SCHEMA>, "format">;

/**
 * Writes prices to a file; `sealed` adds a checksum, for one that no manifest of a run verifies.
 */
export async function writePrices(
  path: string,
  prices: Prices,
  { sealed = false } = {},
): Promise<FileRecord> {
  const note = { format: FORMAT, ...prices };
  return await writeAtomic(path, jsonText(sealed ? seal(note) : note));
}

/** Reads a file of prices. Throws an `InputError` where there is none, or it is damaged. */
export async function readPrices(path: string): Promise<Prices> {
  const { format: _, ...prices } = await readJson(path, SCHEMA, "prices of experts");
  return prices;
}

/**
 * Makes the assignment by given prices. Its parts are equal if the rows are like those that the
 * prices were learned on ({@linkcode drift}). It proves that no other assignment with the same
 * loads costs less.
 */
export function byPrices({ experts, prices }: Prices): Assignment {
  return {
    method: "prices",
    about: "each row where cost + price is least, by prices that were learned before",
    passes: 1,
    balanced: false,
    byChunk: false,
    perToken: false,
    async *assign({ open }) {
      const certificate = new Certificate(prices);
      for await (const group of open()) {
        checkWidth("these scores with these prices", group.experts, experts);
        const expert = assignArgmax(group.costs, experts, prices);
        certificate.add(group, expert);
        yield expert;
      }
      return certificate.proof;
    },
  };
}

/** Returns the largest deviation of a load from the equal one. */
export const computeDeviation = (loads: readonly number[]): number => {
  const mean = loads.reduce((a, b) => a + b, 0) / loads.length;
  return mean === 0 ? 0 : Math.max(...loads.map((load) => Math.abs(load / mean - 1)));
};

/** How unequal the shares are that prices gave, and how unequal chance alone may make them. */
export interface Drift {
  /** The largest relative deviation of an expert's share from an equal one. */
  deviation: number;
  /**
   * Four times the deviation that is expected for rows of the same kind. Above it the text is of
   * another kind.
   */
  limit: number;
}

/**
 * Tells how far shares drift from equal ones. Chance alone moves them by √((E − 1) / n) for prices
 * that were learned on n rows. Where few rows are assigned, their own number m counts likewise.
 *
 * @param loads Rows that each expert got `[E]`.
 * @param learned Rows that the prices were learned on, n.
 */
export function drift(loads: readonly number[], learned: number): Drift {
  const rows = loads.reduce((sum, load) => sum + load, 0);
  const experts = loads.length;
  if (rows === 0) return { deviation: 0, limit: 0 };
  return {
    deviation: computeDeviation(loads),
    limit: 4 * Math.sqrt((experts - 1) * (1 / learned + 1 / rows)),
  };
}
