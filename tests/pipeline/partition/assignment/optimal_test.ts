import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import {
  equalRooms,
  gapPerRow,
  gapShare,
  type Proof,
} from "../../../../pipeline/partition/assignment/assignment.ts";
import { assignBalanced } from "../../../../pipeline/partition/assignment/balanced.ts";
import { optimal, solve } from "../../../../pipeline/partition/assignment/optimal.ts";
import { uniform } from "../../../../pipeline/random.ts";

const GOLDEN = new URL(
  "../../../../fixtures/golden/ctbm/optimal_assignments.json",
  import.meta.url,
);

interface Case {
  costs: Float32Array;
  experts: number;
  rooms: number[];
  predicted?: Uint32Array;
}

/** Runs the assignment over rows that come in groups of these sizes, in turn. */
async function run({ costs, experts, rooms, predicted }: Case, sizes = [1e9]) {
  let passes = 0;
  const open = async function* () {
    passes++;
    const rows = costs.length / experts;
    for (let begin = 0, end = 0, i = 0; begin < rows; begin = end, i++) {
      end = Math.min(rows, begin + sizes[i % sizes.length]);
      const part = costs.slice(begin * experts, end * experts);
      yield await Promise.resolve({
        experts,
        costs: part,
        predicted: predicted?.slice(begin, end),
      });
      part.fill(NaN); // a group may be used until the next is asked for
    }
  };
  const expert: number[] = [];
  const assigned = optimal.assign({ open, rooms: () => rooms });
  for (;;) {
    const { done, value } = await assigned.next();
    if (done) {
      assert(passes <= optimal.passes, `${passes} passes`);
      return { expert, proof: value };
    }
    expert.push(...value);
  }
}

/** Sums in halves, so that rounding does not add up. */
function total(terms: number[]): number {
  if (terms.length < 3) return (terms[0] ?? 0) + (terms[1] ?? 0);
  return total(terms.slice(0, terms.length >> 1)) + total(terms.slice(terms.length >> 1));
}

const splitRows = ({ costs, experts }: Case): number[][] =>
  Array.from(
    { length: costs.length / experts },
    (_, i) => [...costs.subarray(i * experts, (i + 1) * experts)],
  );

/**
 * Checks by weak duality that experts are optimal: the prices bound the cost of any other
 * assignment. Returns cost and bound.
 */
function prove(one: Case, expert: ArrayLike<number>, prices: ArrayLike<number>) {
  const rows = splitRows(one);
  const experts = Array.from(expert);
  assertEquals(one.rooms.map((_, e) => experts.filter((x) => x === e).length), one.rooms);
  const cost = total(rows.map((row, i) => row[expert[i]]));
  const least = total(rows.map((row) => Math.min(...row.map((c, e) => c + prices[e]))));
  const bound = least - total(one.rooms.map((room, e) => room * prices[e]));
  const rounding = 1e-12 * total(rows.map((row) => Math.max(...row.map(Math.abs))));
  assert(Math.abs(cost - bound) <= rounding, `cost ${cost}, bound ${bound}`);
  return { cost, bound, rounding };
}

/** Checks a proof from its definition. */
function check(one: Case, expert: number[], proof: Proof): number {
  const { cost, bound, rounding } = prove(one, expert, proof.prices!);
  const rows = splitRows(one);
  const greedy = assignBalanced(one.costs, one.experts, one.predicted, one.rooms);
  assertAlmostEquals(proof.cost, cost, rounding);
  assertAlmostEquals(proof.bound, bound, rounding);
  assertAlmostEquals(proof.unbalanced, total(rows.map((row) => Math.min(...row))), rounding);
  assertAlmostEquals(proof.greedy!, total(rows.map((row, i) => row[greedy[i]])), rounding);
  assertEquals([proof.rows, proof.loads], [rows.length, one.rooms]);
  return cost;
}

/** The least cost of all assignments, by trying each. */
function bruteForce(rows: number[][], rooms: number[], row = 0): number {
  if (row === rows.length) return 0;
  return Math.min(...rooms.map((room, e) => {
    if (room === 0) return Infinity;
    return rows[row][e] + bruteForce(rows, rooms.with(e, room - 1), row + 1);
  }));
}

/**
 * A case of at most so many rows: uneven rooms, ties, duplicates, offsets, predicted lengths, fewer
 * rows than experts.
 */
function exampleOf(seed: number, most: number): Case {
  let drawn = 0;
  const random = () => uniform(seed, "optimal", drawn++);
  const whole = (most: number) => Math.floor((most + 1) * random());
  const experts = 1 + whole(4);
  const rows = whole(most);
  const kind = seed % 5;
  const values = (): number[] => {
    const offset = kind === 1 ? 1e4 * random() : 0; // of the row
    return Array.from(
      { length: experts },
      (_, e) => offset + (kind === 2 ? whole(3) : 20 * random() - (kind === 3 ? 4 * e : 0)),
    );
  };
  const pool = Array.from({ length: kind === 4 ? 3 : rows }, values);
  const drawnRows = Array.from({ length: rows }, (_, i) => pool[kind === 4 ? whole(2) : i]);
  const rooms = equalRooms(rows, experts);
  if (random() < 0.5) {
    rooms.fill(0);
    for (let row = 0; row < rows; row++) rooms[Math.floor(experts * random() ** 2)]++;
  }
  const predicted = random() < 0.5
    ? Uint32Array.from({ length: rows }, () => 1 + whole(3))
    : undefined;
  return { costs: Float32Array.from(drawnRows.flat()), experts, rooms, predicted };
}

Deno.test("optimal meets the golden costs, and proves them", async () => {
  interface Golden {
    cost: number[][];
    room: number[];
    optimal_cost: number;
    greedy_cost: number;
    unbalanced_cost: number;
  }
  const cases: Golden[] = JSON.parse(await Deno.readTextFile(GOLDEN));
  assert(cases.length > 0);
  for (const { cost, room, optimal_cost, greedy_cost, unbalanced_cost } of cases) {
    const one = { costs: Float32Array.from(cost.flat()), experts: room.length, rooms: room };
    const { expert, proof } = await run(one);
    const near = (a: number, b: number) => assertAlmostEquals(a, b, 1e-9 * Math.abs(b));
    near(check(one, expert, proof!), optimal_cost);
    near(proof!.greedy!, greedy_cost);
    near(proof!.unbalanced, unbalanced_cost);
  }
});

Deno.test("optimal finds the least cost of all assignments of up to 7 rows, and proves it", async () => {
  let greedyWorse = 0;
  let fewer = 0;
  for (let seed = 0; seed < 500; seed++) {
    const one = exampleOf(seed, 7);
    const rows = splitRows(one);
    const { expert, proof } = await run(one, [1 + seed % 7]);
    if (rows.length === 0) {
      assertEquals([expert, proof], [[], undefined]);
      continue;
    }
    const cost = check(one, expert, proof!);
    assertAlmostEquals(cost, bruteForce(rows, one.rooms), 1e-9 * Math.max(1, Math.abs(cost)));
    greedyWorse += Number(proof!.greedy! > cost + 1e-6);
    fewer += Number(rows.length < one.experts);
  }
  assert(greedyWorse > 100 && fewer > 20, `${greedyWorse}, ${fewer}`);
});

Deno.test("solve() proves what it does with samples that say little of the rows", () => {
  for (let seed = 1000; seed < 1050; seed++) {
    const one = exampleOf(seed, 2000);
    const { expert, prices } = solve(one.costs, one.rooms, 2 ** (seed % 9));
    prove(one, expert, prices);
  }
  // Every 17th row, and so the whole sample, is of a kind of its own.
  const rows = 6000;
  const experts = 5;
  const costs = Float32Array.from({ length: rows * experts }, (_, i) => {
    const e = i % experts;
    const isSampled = Math.floor(i / experts) % 17 === 0;
    return 9 * uniform(4, "two kinds", i) + 9 * (isSampled ? e : 4 - e);
  });
  const one = { costs, experts, rooms: equalRooms(rows, experts) };
  const { expert, prices } = solve(costs, one.rooms, 256);
  prove(one, expert, prices);
});

Deno.test("optimal proves 20,000 rows, likewise however they are cut into groups", async () => {
  const rows = 20_000;
  const experts = 7;
  const predicted = Uint32Array.from(
    { length: rows },
    (_, i) => 1 + Math.floor(63 * uniform(1, "length", i)),
  );
  const costs = Float32Array.from({ length: rows * experts }, (_, at) => {
    const row = Math.floor(at / experts);
    const home = Math.floor(uniform(1, "home", row) ** 2 * experts);
    return predicted[row] * (4 + uniform(1, "cost", at) - Number(at % experts === home));
  });
  const one = { costs, experts, rooms: equalRooms(rows, experts), predicted };
  const found = await run(one);
  check(one, found.expert, found.proof!);
  assert(gapShare(found.proof!) <= 1e-9, `${gapShare(found.proof!)}`);
  assert(gapShare(found.proof!, found.proof!.greedy) > 0.01 && gapPerRow(found.proof!) < 1e-9);
  for (const sizes of [[4096], [1, 5, 17, 400]]) assertEquals(await run(one, sizes), found);
});

Deno.test("optimal spreads equal rows, rows that differ by a constant, and experts that are alike", async () => {
  const rows = 9000;
  const experts = 4;
  const kinds: Record<string, (row: number, e: number) => number> = {
    equal: () => 3,
    offsets: (row) => row % 1000,
    twoKinds: (row, e) => row % 2 === 0 ? e : 3 - e,
    // Experts 0 and 1 are alike, and 2 and 3.
    alike: (row, e) => 100 * uniform(5, "alike", 2 * row + (e >> 1)),
  };
  for (const kind of Object.values(kinds)) {
    const costs = Float32Array.from(
      { length: rows * experts },
      (_, i) => kind(Math.floor(i / 4), i % 4),
    );
    const one = { costs, experts, rooms: equalRooms(rows, experts) };
    const { expert, proof } = await run(one, [4096]);
    check(one, expert, proof!);
  }
});
