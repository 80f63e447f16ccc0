/**
 * Prices that were learned once assign any other text of the same kind: each row goes where cost + price is
 * lowest, and no other row matters for that. So different machines can assign the parts of a corpus, and new
 * text is shared out as the old text was.
 */

import * as v from "valibot";
import { InputError } from "../../../kernels/errors.ts";
import { type FileRecord, jsonText, oneLine, writeAtomic } from "../../run/files.ts";
import { conform, finite } from "../../run/schema.ts";
import { isSealed, seal } from "../../run/seal.ts";
import { readVouched, type Vouched } from "../../run/vouched.ts";
import { type Assignment, checkCosts, leastCost } from "./assignment.ts";
import { type Nearest, nearest } from "./optimal/nearest.ts";

/** Version of the file that this code writes, and the newest that it reads. */
const FORMAT = 1;

const POSITIVE = v.pipe(v.number(), v.safeInteger(), v.minValue(1));

const SCHEMA = v.pipe(
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
  v.check(({ experts, prices }) => prices.length === experts, "prices must be one for every expert"),
);

/**
 * Prices, and what they were learned on.
 *
 * @ignore
 */
export type Prices = Omit<v.InferOutput<typeof SCHEMA>, "format">;

/** Writes prices to a file; `sealed` adds a checksum, for one that no manifest of a run vouches for. */
export async function writePrices(
  path: string,
  prices: Prices,
  { sealed = false } = {},
): Promise<FileRecord> {
  const note = { format: FORMAT, ...prices };
  return await writeAtomic(path, jsonText(sealed ? seal(note) : note));
}

/** Reads a file of prices. Throws an `InputError` where there is none, or it is damaged, or not as `vouched` knows it. */
export async function readPrices(path: string, vouched?: Vouched): Promise<Prices> {
  try {
    const object = JSON.parse(new TextDecoder().decode(await readVouched(path, vouched)));
    const { format: _, ...prices } = conform(SCHEMA, object);
    if (!isSealed(object, Infinity)) throw new InputError("its checksum is not that of what it says");
    return prices;
  } catch (cause) {
    if (cause instanceof InputError && cause.where === path) throw cause;
    const why = cause instanceof Deno.errors.NotFound ? "it is not there" : oneLine(cause);
    throw new InputError(`Cannot read "${path}" as it must hold prices of experts: ${why}`, {
      where: path,
      cause,
    });
  }
}

/**
 * Makes the assignment by given prices. Its parts are equal if the rows are like those that the prices were
 * learned on; {@linkcode drift} tells how unequal they are. It proves that no other assignment with the same
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
      const price = Float64Array.from(prices);
      const loads = new Array<number>(experts).fill(0);
      let rows = 0, cost = 0, unbalanced = 0;
      let found: Nearest | undefined;
      for await (const group of open()) {
        const { costs } = group;
        if (group.experts !== experts) {
          throw new InputError(
            `Cannot assign by these prices as they must be of as many experts as the scores: ` +
              `prices are of ${experts}, scores of ${group.experts}`,
          );
        }
        const count = checkCosts(costs, experts);
        found = nearest(group, price, found);
        for (let row = 0; row < count; row++) {
          const begin = row * experts, e = found.expert[row];
          loads[e]++, rows++;
          cost += costs[begin + e], unbalanced += leastCost(costs, begin, experts);
        }
        yield found.expert.slice(0, count);
      }
      return { cost, bound: cost, rows, loads, unbalanced, prices };
    },
  };
}

/** How unequal the shares are that prices gave, and how unequal chance alone may make them. */
export interface Drift {
  /** The largest relative deviation of an expert's share from an equal one. */
  deviation: number;
  /**
   * Four times the deviation that is expected for rows of the same kind. Above it the text is of another
   * kind.
   */
  limit: number;
}

/**
 * Tells how far shares drift from equal ones: by √((E − 1) / n) for prices that were learned on n rows, and, where few rows are
 * assigned, by their own number m likewise.
 *
 * @param loads Rows that each expert got `[E]`.
 * @param learned Rows that the prices were learned on, n.
 */
export function drift(loads: readonly number[], learned: number): Drift {
  const rows = loads.reduce((sum, load) => sum + load, 0);
  const experts = loads.length;
  if (rows === 0) return { deviation: 0, limit: 0 };
  return {
    deviation: Math.max(...loads.map((load) => Math.abs(load * experts / rows - 1))),
    limit: 4 * Math.sqrt((experts - 1) * (1 / learned + 1 / rows)),
  };
}
