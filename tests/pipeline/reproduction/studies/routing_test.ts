import { assertEquals, assertStringIncludes } from "@std/assert";
import { outcome, setupsFor, study, type Told } from "../support.ts";

const SETUPS = setupsFor("routing", 3);
const SHARES = [0.1, 0.2, 0.3, 0.4];

/** The outcome of a run whose experts get these shares of held-out text, and what choosing at random came to. */
function routed(setup: typeof SETUPS[number], shares: readonly number[], told: Told = {}) {
  const found = outcome(setup, {
    ...told,
    prefixes: { 8: 35, 64: 30 },
    segments: shares.map((share) => [30, 40, 35, share]),
  });
  found.evaluation.scores.random = { nllPerToken: Math.log(100), perplexity: 100, low: 99, high: 101 };
  found.trained.dense = [{ steps: 10 } as never];
  return found;
}

Deno.test("the study of routing shares the runs of the study of experts, of one seed", () => {
  const experts = setupsFor("experts", 3);
  assertEquals(SETUPS.map(({ settings }) => settings.experts), [4, 8]);
  for (const setup of SETUPS) assertEquals(experts.find(({ name }) => name === setup.name), setup);
});

Deno.test("the study of routing judges shares, choices, loads, compute and exchange, run by run", () => {
  const four = routed(SETUPS[0], SHARES);
  const eight = routed(SETUPS[1], [...Array(7).fill(0.14), 0.02]);
  eight.cost.flops = { total: 104, dense: 100, overhead: 4, inference: 10, inferenceOverhead: 1 };
  eight.partition.experts[0].sequences = 98;
  const { claims, table, plots } = study("routing").findings([four, eight]);
  const of = (run: string) => claims.filter(({ claim }) => claim.startsWith(`${run}: `));
  const verdicts = (run: string) =>
    Object.fromEntries(
      of(run).map(({ claim, holds }) => [claim.slice(run.length + 2).split(" ", 3).join(" "), holds]),
    );
  assertEquals(verdicts("4 experts"), {
    "every expert gets": true,
    "a short prefix": true,
    "routing beats a": true,
    "routers split text": null,
    "loads are equal": true,
    "routing adds little": false, // a third of the training
    "training hardly communicates": true,
  });
  assertEquals(verdicts("8 experts"), {
    ...verdicts("4 experts"),
    "every expert gets": false, // 0.02 is less than a quarter of an eighth
    "loads are equal": false,
    "routing adds little": true, // 4% and 10%, as much as the paper's at most
  });
  const here = (text: string) => of("4 experts").find(({ claim }) => claim.includes(text))!.here;
  assertEquals(here("substantial share"), "10.0% to 40.0%; equal would be 25.0%");
  assertStringIncludes(here("adds little"), "33.3%, 11.1%");
  assertEquals(table.rows[0].slice(0, 3), ["4 experts", "10.0% to 40.0%", "0.500"]);
  assertEquals(table.rows[1].slice(-3, -1), ["4.0%", "10.0%"]);
  assertEquals(plots.map(({ id }) => id), ["study-routing-4", "study-routing-8"]);
});

Deno.test("the study of routing says that training communicates where it exchanges more than all steps of dense training", () => {
  const found = routed(SETUPS[0], SHARES);
  found.cost.communication.bytesPerNode = 10; // ten steps exchange a byte each
  const communicates = () => study("routing").findings([found]).claims.at(-1)!;
  assertEquals(communicates().holds, false);
  found.cost.communication.bytesPerNode = 9;
  assertEquals(communicates().holds, true);
});
