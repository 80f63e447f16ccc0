/**
 * Optimal assignment to rooms, with a proof. Every expert gets a price, such that about as many rows want it as it has room
 * for. Each row goes where cost + price is least, and the few rows that do not fit move along shortest paths. A result with its prices
 * proves how good it is (`certificate.ts`).
 *
 * It reads all rows three times, unless they fit into memory, and holds few of them. The first time gives a sample, on which prices
 * are learned. They are nearly right, so the second time settles most rows: those whose next expert costs so much more that no better
 * prices would change their choice. What is left is solved in memory, to the end. The last time hands rows out and proves the result.
 * All sums are in f64, in the order of the rows, with their rounding kept.
 */

import type { Assignment, AssignmentInput, CostRows, Proof } from "./assignment.ts";
import { assignBalanced } from "./balanced.ts";
import { Certificate } from "./certificate.ts";
import { GreedyCost } from "./optimal/greedy.ts";
import type { Weighed } from "./optimal/contested.ts";
import { halfOf, samplePrices, thinned, unweighed } from "./optimal/sample.ts";
import { Sieve, spread } from "./optimal/sieve.ts";
import { expertsOf, fitPrices, type Solution, solve } from "./optimal/solve.ts";
import { Survey } from "./optimal/survey.ts";
import { Sum } from "./sum.ts";

const SIEVES = 4; // at most; one more keeps all rows in memory, where they fit or none could fill the rooms
const CLOSE = 1e-3; // of the sample may be with experts that it does not fit
const FAR = 2; // times what prices are expected to be wrong by: the first reach
const CLOSER = 6; // times less than what prices changed by: the next one
const LEAST = 0.01; // of the rows are contested, by what the sample says, and
const EACH = 512; // for every expert, so that they tell how dense rows lie between experts
const MOST = 0.05; // likewise: where more would be, better prices are sought first
const MOST_COSTS = 2 ** 25; // of contested rows, likewise

/**
 * Makes the assignment that gives every expert what it has room for at the least cost. `sampled` is how many rows its sample holds at
 * most, an even number; chosen by the number of experts unless given. More rows than that are read several times.
 */
export function createOptimal(sampled?: number): Assignment {
  return {
    method: "optimal",
    about: "equal parts at the least cost over all rows, with a proof and with prices that assign other rows",
    revision: 2,
    passes: 7,
    balanced: true,
    byChunk: false,
    perToken: true,
    assign: (input) => assign(input, sampled),
  };
}

/** Gives every expert what it has room for at the least cost. */
export const optimal: Assignment = createOptimal();

async function* assign(
  { open, look = open, rooms }: AssignmentInput,
  sampled?: number,
): AsyncGenerator<Uint16Array, Proof | undefined> {
  const survey = new Survey(sampled);
  for await (const group of look()) survey.add(group);
  const { rows, experts, sample } = survey;
  if (rows === 0) return undefined;
  const room = rooms(rows, experts);
  const places = room.reduce((sum, places) => sum + places, 0);
  if (places !== rows) {
    throw new RangeError(
      `Cannot assign as rooms must hold every row: rooms hold ${places}, rows are ${rows}`,
    );
  }

  const isWhole = sample.stride === 1;
  const greedy = isWhole ? undefined : new GreedyCost(survey.turns(), room, sample);
  async function pass(visit: (rows: CostRows) => void): Promise<void> {
    for await (const group of isWhole ? [sample.rows] : look()) visit(group), greedy?.add(group);
    greedy?.endPass();
  }
  async function sift(prices: Float64Array, reach: number): Promise<Sieve> {
    const sieve = new Sieve(rows, room, prices, reach);
    await pass((group) => sieve.add(group));
    return sieve;
  }

  const { sieve, solution } = await search(startOf(sample.rows, room, isWhole), sift);
  while (greedy?.isSettled === false) await pass(() => {});
  const expert = sieve.experts(expertsOf(sieve.contested, solution));
  const certificate = new Certificate(solution.prices);
  for await (const group of open()) {
    const begin = certificate.rows;
    const part = expert.slice(begin, begin + group.costs.length / experts);
    certificate.add(group, part);
    greedy?.add(group);
    yield part;
  }
  greedy?.endPass();
  return {
    cost: certificate.cost,
    bound: certificate.bound(room),
    rows,
    loads: certificate.loads,
    unbalanced: survey.unbalanced,
    greedy: greedy ? greedy.cost : greedyCost(sample.rows, room),
    prices: [...solution.prices],
  };
}

/** Prices to begin with, and how far above the best an expert may cost for a row to be contested. */
interface Start {
  prices: Float64Array;
  reach: number;
  /** Whether better prices than these may be further off than the reach. */
  isRough: boolean;
  /** The least reach that leaves enough rows to solve. */
  least: number;
  /** Whether memory may hold all rows, where nothing less helps. */
  mayKeepAll: boolean;
}

/** Learns prices on a sample of all rows, whose rooms are given. */
function startOf(sample: CostRows, room: readonly number[], isWhole: boolean): Start {
  const { experts } = sample;
  const thin = samplePrices(thinned(sample), room);
  if (isWhole) return { prices: thin, reach: Infinity, isRough: false, least: Infinity, mayKeepAll: true };
  const rows = room.reduce((sum, room) => sum + room, 0);
  const fit = (part: Weighed, start: Float64Array) =>
    fitPrices(part, room.map((room) => room * part.rows / rows), start, CLOSE * part.rows);
  const half = fit(halfOf(sample), thin);
  const sampled = unweighed(sample);
  const choice = fit(sampled, half.prices);
  const marginOf = (share: number) => choice.closest(Math.max(1, share * sampled.rows));
  const least = marginOf(Math.max(LEAST, EACH * experts / rows));
  // Half of a sample is as far from the whole as this is from all rows, chance apart.
  const wanted = Math.max(least, FAR * spread(half.prices, choice.prices));
  const isRough = wanted > marginOf(Math.min(MOST, MOST_COSTS / (experts * rows)));
  const mayKeepAll = experts * rows <= MOST_COSTS;
  return { prices: choice.prices, reach: isRough ? least : wanted, isRough, least, mayKeepAll };
}

/** The rows as settled and contested, and the solution of the latter. */
interface Found {
  sieve: Sieve;
  solution: Solution;
}

/** Sifts the rows until a solution of what is contested leaves right what is settled. */
async function search(
  { prices: start, reach, isRough, least, mayKeepAll }: Start,
  sift: (prices: Float64Array, reach: number) => Promise<Sieve>,
): Promise<Found> {
  let found: Found | undefined;
  let prices = start, base = start, bound = -Infinity;
  for (let sieves = 1;; sieves++) {
    const sieve = await sift(prices, sieves > SIEVES ? Infinity : reach);
    // Rough prices are first made better by what all rows say of them.
    const solution = isRough && sieves === 1 ? undefined : solve(sieve.contested, sieve.left, prices);
    if (solution !== undefined) found = { sieve, solution };
    if (solution && sieve.holdsAt(solution.prices)) return found!;
    if (found && sieves >= SIEVES && !mayKeepAll) return found;
    if (sieve.bound > bound) {
      bound = sieve.bound, base = prices;
      prices = solution?.prices ?? sieve.better;
      reach = Math.max(least, spread(prices, base) / (sieves === 1 ? CLOSER : 1));
    } else {
      const from = base;
      prices = prices.map((price, e) => from[e] + (price - from[e]) / 4);
      reach = Math.max(least, spread(prices, from));
    }
  }
}

/** Sums what the greedy rule would cost over rows that are all in memory. */
function greedyCost({ costs, experts, predicted }: CostRows, room: readonly number[]): number {
  const sum = new Sum();
  assignBalanced(costs, experts, predicted, room).forEach((e, row) => sum.add(costs[row * experts + e]));
  return sum.value;
}
