import { assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { evaluate, type EvaluateOptions } from "../../../pipeline/evaluation/evaluate.ts";
import type { Partitioner } from "../../../pipeline/partition/partitioner.ts";
import { partitionerOf } from "../../../pipeline/partition/em/partitioner.ts";
import { assertClose, gpu } from "../../kernels/support.ts";
import { sequenceNll } from "../model/reference.ts";
import { anyWeights } from "../model/support.ts";
import {
  anyModel,
  anyRouters,
  anyRows,
  batchesOf,
  drawnDocuments,
  mixtureOf,
  MODEL,
  sequencesOf,
} from "./support.ts";

const [E, M, RESAMPLES, SEED] = [3, 6, 30, 3];
const PREFIXES = [4, 6, 8, 12];
const EXPERTS = ["a", "b", "c"];
const ROWS = anyRows(31);

/** Evaluates the rows, with another partitioner beside the mixture's own. */
async function evaluateWith(routeBy: Partitioner | undefined, more: Partial<EvaluateOptions> = {}, size = 5) {
  const mixture = mixtureOf(
    gpu,
    anyRouters(E),
    Object.fromEntries(EXPERTS.map((name, expert) => [expert, anyModel(name)])),
  );
  const open = () => batchesOf(ROWS, size);
  try {
    return await evaluate({ mixture, prefix: M, open, resamples: RESAMPLES, seed: SEED, routeBy, ...more });
  } finally {
    mixture.close();
  }
}

/** A partitioner that sends a sequence by the sum of the tokens of its prefix, and what it sends where. */
const expertOf = (tokens: number[], prefix: number) =>
  tokens.slice(0, prefix).reduce((sum, token) => sum + token, 0) % E;
const BY_SUM: Partitioner = {
  kind: "sum",
  experts: E,
  sha256: "",
  prefix: M,
  vocabulary: 13,
  costs: ({ tokens, sequenceLength, length }, prefixes) =>
    Promise.resolve(Float32Array.from(
      prefixes.flatMap((prefix) =>
        [...length].flatMap((real, row) => {
          const own = [...tokens.subarray(row * sequenceLength, row * sequenceLength + real)];
          return Array.from({ length: E }, (_, expert) => Number(expert !== expertOf(own, prefix)));
        })
      ),
    )),
  close() {},
};

Deno.test({
  name: "evaluate() tells what another partitioner's choices cost, on the same draws, as recomputed in f64",
  ignore: gpu === null,
  fn: async () => {
    const { routedBy, prefixes } = await evaluateWith(BY_SUM);
    const sequences = sequencesOf(ROWS);
    const nlls = EXPERTS.map((name) => {
      const weights = anyWeights(MODEL, name);
      return sequences.map((tokens) => tokens.length > 1 ? sequenceNll(MODEL, weights, tokens) : 0);
    });
    const documents = [...new Set(ROWS.document!)];
    const rowsOf = documents.map((id) => [...sequences.keys()].filter((row) => ROWS.document![row] === id));
    const perplexity = (nll: number[], rows: number[]) =>
      Math.exp(
        rows.reduce((sum, row) => sum + nll[row], 0) /
          rows.reduce((sum, row) => sum + sequences[row].length - 1, 0),
      );
    const draws = Array.from(
      { length: RESAMPLES },
      (_, draw) => drawnDocuments(documents.length, draw, SEED).flatMap((document) => rowsOf[document]),
    );
    const interval = (values: number[]) => {
      const sorted = values.toSorted((a, b) => a - b);
      return [0.025, 0.975].map((share) => {
        const at = share * (RESAMPLES - 1);
        const below = Math.floor(at);
        return sorted[below] + (at - below) * ((sorted[below + 1] ?? 0) - sorted[below]);
      });
    };
    assertEquals([routedBy!.kind, routedBy!.prefixes.map(({ prefix }) => prefix)], ["sum", PREFIXES]);
    const own = await ownRoutes();
    for (
      const [k, { prefix, perplexity: found, low, high, gain, agreement }] of routedBy!.prefixes.entries()
    ) {
      const routes = sequences.map((tokens) => expertOf(tokens, prefix));
      const [theirs, ours] = [routes, own[k]].map((chosen) => chosen.map((expert, row) => nlls[expert][row]));
      const all = [...sequences.keys()];
      const gainOf = (rows: number[]) => 100 * (1 - perplexity(ours, rows) / perplexity(theirs, rows));
      assertClose(
        [found, low, high, prefixes[k].perplexity],
        [
          perplexity(theirs, all),
          ...interval(draws.map((rows) => perplexity(theirs, rows))),
          perplexity(ours, all),
        ],
        { atol: 1e-4, rtol: 1e-4 },
        `perplexities by ${prefix} tokens`,
      );
      assertClose(
        [gain.percent, gain.low, gain.high],
        [gainOf(all), ...interval(draws.map(gainOf))],
        { atol: 1e-3, rtol: 1e-3 },
        `gains by ${prefix} tokens`,
      );
      assertEquals(
        agreement,
        routes.filter((expert, row) => expert === own[k][row]).length / sequences.length,
      );
    }
  },
});

/** Where the mixture's own routers send every sequence, by prefix. */
async function ownRoutes(): Promise<number[][]> {
  const routers = partitionerOf(anyRouters(E), () => Promise.resolve(gpu));
  const rows = { tokens: ROWS.tokens!, sequenceLength: 12, length: ROWS.length };
  const routes: number[][] = [];
  for (const prefix of PREFIXES) {
    const costs = await routers.costs(rows, [prefix]);
    routes.push(Array.from({ length: ROWS.rows }, (_, row) => {
      const own = [...costs.subarray(row * E, (row + 1) * E)];
      return own.indexOf(Math.min(...own));
    }));
  }
  routers.close();
  return routes;
}

Deno.test({
  name:
    "evaluate() finds no difference where the other partitioner is the mixture's own, and changes nothing else",
  ignore: gpu === null,
  fn: async () => {
    const same = partitionerOf(anyRouters(E), () => Promise.resolve(gpu));
    const { routedBy, ...rest } = await evaluateWith(same);
    for (const { gain, agreement } of routedBy!.prefixes) {
      assertEquals([gain, agreement], [{ percent: 0, low: 0, high: 0 }, 1]);
    }
    const scores = (of: { perplexity: number; low: number; high: number }[]) =>
      of.map(({ perplexity, low, high }) => [perplexity, low, high]);
    assertEquals(scores(routedBy!.prefixes), scores(rest.prefixes));
    assertEquals(rest, await evaluateWith(undefined));
    assertEquals((await evaluateWith(same, {}, 31)).routedBy, routedBy); // however the rows come
    same.close();
  },
});

Deno.test({
  name: "evaluate() refuses another partitioner of another number of experts",
  ignore: gpu === null,
  fn: async () => {
    const other = { ...BY_SUM, experts: 2 };
    await assertRejects(
      () => evaluateWith(other),
      InputError,
      "sum must know each of the 3 experts: it knows 2",
    );
  },
});
