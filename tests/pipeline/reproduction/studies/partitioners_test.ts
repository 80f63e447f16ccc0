import { assert, assertEquals } from "@std/assert";
import type { Outcome } from "../../../../pipeline/reproduction/study.ts";
import type { Configuration } from "../../../../pipeline/settings/configuration.ts";
import { resolveConfiguration } from "../../../../pipeline/settings/resolution.ts";
import { gridOf, outcome, setupsFor, SMALL, study } from "../support.ts";

Deno.test("the study of partitioners compares seed by seed, and routers from clusters are not taken for others", () => {
  const setups = setupsFor("partitioners", 2);
  assertEquals(setups.length, 11); // three ways with two seeds, three with one, two again with twice the experts
  const perplexity: Record<string, number> = {
    ...{ "em-from-random-parts": 30, em: 28, ctbm: 29, random: 41 },
    ...{ "em-from-random-parts-8": 26, "em-8": 27 },
  };
  const found = (more: Record<string, Record<number, number>> = {}) =>
    study("partitioners").findings(setups.map((setup) => {
      const way = setup.name.split("-4-")[0];
      const mixture = perplexity[way.split("-experts-")[0]] ?? 33;
      return outcome(setup, {
        mixture,
        prefixes: { 4: 100, 8: way === "ctbm" ? 40 : mixture + 5, 256: mixture - 1, ...more[setup.name] },
        segments: [[mixture, 40, 35, 0.6], [mixture, 40, 35, 0.4]],
      });
    }));
  const { claims, table, plots } = found();
  // The first run was evaluated by hand with one more length: nothing is told of that.
  assertEquals(found({ [setups[0].name]: { 48: 31 } }).table, table);
  assertEquals(claims.map(({ holds }) => holds), [true, false, true, null, true]);
  assertEquals(claims[0].here, "routers 35.00, 35.00; clusters 40.00, 40.00");
  assertEquals(claims[1].here, "routers 29.00, 29.00; clusters 28.00, 28.00");
  assertEquals(claims[2].here, "from clusters 28.00, 28.00; from random parts 30.00, 30.00");
  assertEquals(claims[3].here, "from clusters 27.00 [26.00, 28.00], from random parts 26.00 [25.00, 27.00]"); // with eight experts
  assertEquals(claims[4].here, "random parts 41.00 [40.00, 42.00], dense 40.00 [39.00, 41.00]"); // and the dense model beside em
  const labels = table.rows.map(([label]) => label);
  const own = labels.indexOf("routers from clusters"); // as the preset's begin
  assertEquals(labels.slice(own + 1, own + 3), ["dense, 4× batch", "dense, 4× steps"]);
  assertEquals(table.rows[own + 1].slice(1), [null, null, "40.00 [39.00, 41.00]", null, null, null, null]);
  assert(labels.includes("dense, 4× steps, seed 1"));
  assert(labels.includes("dense, 8× batch") && !labels.includes("dense, 8× steps"));
  assertEquals(table.rows.length, setups.length + 5 + 3);
  assertEquals(table.rows[0].slice(-2), ["60.0%", "as given"]);
  // Parts by source have no routers, and no prompt chooses among them.
  const bySource = table.rows[labels.indexOf("parts by source, whose true label routes")];
  assertEquals([bySource.slice(1, 4), bySource.at(-1)], [[null, null, "33.00 [32.00, 34.00]"], null]);
  assertEquals(labels.slice(-3), [
    "routers from random parts, 2 seeds: mean ± standard deviation",
    "routers from clusters, 2 seeds: mean ± standard deviation",
    "clusters of TF-IDF (c-BTM), 2 seeds: mean ± standard deviation",
  ]);
  // 35 and 41 tokens' worth of perplexity: the mean is 38, the sample's deviation 3 √2.
  assertEquals(found({ "em-from-random-parts-4-experts-seed-1": { 8: 41 } }).table.rows.at(-3)!.slice(1, 6), [
    ...["38.00 ± 4.24", "29.00 ± 0.00", "30.00 ± 0.00", "28.00 ± 0.00"],
    null,
  ]);
  const found6 = setups.map((setup) =>
    outcome({ ...setup, settings: { ...setup.settings, routerRate: 0.006, rounds: 6 } }, {
      ...{ prefixes: { 8: 1, 256: 1 }, segments: [[30, 40, 35, 0.6]] },
    })
  );
  assertEquals(study("partitioners").findings(found6).table.rows[0].at(-1), "0.006 × 6");
  assertEquals(plots[0].table.rows.length, 5 + 2); // of the first seed, and its dense models
  assertEquals(plots[0].table.head, ["run", "8", "256"]); // without the shortest prefixes
  assertEquals(plots[1].table.rows.map(([label]) => label), [
    ...["routers from random parts, 8 experts", "routers from clusters, 8 experts"],
    "dense, 8× batch",
  ]);
  // Two experts together stand below the one that answers alone.
  const first = setups.findIndex(({ choices }) => choices?.mix);
  const { label } = setups[first];
  const mixed = study("partitioners").findings(setups.map((setup, i) => {
    const one = outcome(setup, { prefixes: { 8: 40, 256: 30 }, segments: [[30, 40, 35, 1]] });
    const score = { perplexity: 27, low: 26, high: 28 };
    const mix = { experts: 2, ...score, prefixes: [{ prefix: 8, ...score, perplexity: 27.5 }] };
    return i === first
      ? { ...one, evaluation: { ...one.evaluation, mixing: { temperature: 1, mixes: [mix] } } } as Outcome
      : one;
  })).table.rows;
  assertEquals(mixed[mixed.findIndex(([name]) => name === label) + 1].slice(0, 4), [
    `${label}, 2 experts together`,
    ...["27.50 [26.00, 28.00]", null, "27.00 [26.00, 28.00]"],
  ]);
  // With eight experts, and beside the dense model, intervals must be apart.
  const apart = setups.map((setup) =>
    outcome(setup, {
      mixture: setup.name === "em-from-random-parts-8-experts-seed-0" ? 26 : 30,
      ...{ prefixes: { 8: 40 }, segments: [[30, 40, 35, 1]] },
    })
  );
  assertEquals(study("partitioners").findings(apart).claims.slice(3).map(({ holds }) => holds), [
    false,
    false,
  ]);
  // A perplexity of random parts that is lower is no yes, even where intervals have a part in common.
  const [level, lower] = [40, 39].map((mixture) =>
    study("partitioners").findings(
      setups.map((setup) => outcome(setup, { mixture, prefixes: { 8: 40 }, segments: [[30, 40, 35, 1]] })),
    ).claims[4]
  );
  assertEquals([level.holds, lower.holds], [true, null]);
  // One seed that is behind is enough for a no.
  assertEquals(found({ "em-from-random-parts-4-experts-seed-1": { 8: 41 } }).claims[0].holds, false);
});

Deno.test("what splits as the preset does is the run of other studies, and text without labels is not split by them", () => {
  const named = (flags: Partial<Configuration>) =>
    study("partitioners").setups(resolveConfiguration({ ...SMALL, flags }), 1).map(({ name, models }) =>
      [name.replace("-experts-seed-0", ""), models.length] as const
    );
  const ways = ["fixed-clusters-4", "ctbm-4", "random-4", "source-4"].map((name) => [name, 1] as const);
  assertEquals(named({ start: "random" }), [
    ...[["em-4", 3], ["em-from-clusters-4", 1]] as const,
    ...[...ways, ["em-8", 2], ["em-from-clusters-8", 1]] as const,
  ]);
  assertEquals(named({}), [
    ...[["em-from-random-parts-4", 1], ["em-4", 3]] as const,
    ...[...ways, ["em-from-random-parts-8", 1], ["em-8", 2]] as const,
  ]);
  const names = (flags: Partial<Configuration>) => named(flags).map(([name]) => name);
  assert(!names({ input: ["docs.jsonl"] }).includes("source-4"));
  assert(names({ input: ["docs.jsonl"], sourceField: "kind" }).includes("source-4"));
  assert(names({ input: ["docs.jsonl"], sourceFromPath: "" }).includes("source-4"));
  const grid = gridOf(["partitioners"]);
  for (const setup of grid.unsettled) {
    const own = grid.configuration(setup);
    assertEquals(own.method, ["random", "source"].includes(own.partitioner) ? "argmax" : "balanced");
    const { method } = gridOf([], 1, { method: "optimal" }).configuration(setup);
    assertEquals(method, "optimal");
  }
});

Deno.test("means over seeds say where each seed has other held-out text", () => {
  const labels = (tokens: readonly number[]) => {
    const setups = setupsFor("experts", 3);
    const outcomes = setups.map((setup, i) => {
      const one = outcome(setup, { gains: [[10, 1, 30], [5, 1, 9]], segments: [[30, 40, 35, 1]] });
      return { ...one, evaluation: { ...one.evaluation, tokens: tokens[i] } } as Outcome;
    });
    return study("experts").findings(outcomes).table.rows.at(-1)![0];
  };
  assertEquals(labels([1, 1, 1, 1, 1]), "4 experts, 3 seeds: mean ± standard deviation");
  assertEquals(
    labels([1, 1, 2, 3, 1]),
    "4 experts, 3 seeds, each with other held-out text: mean ± standard deviation",
  );
});

Deno.test("the study of partitioners has its dense models also where the way to split that is asked for is not compared", () => {
  const flags: Partial<Configuration> = { partitioner: "source", input: ["text.txt"] }; // without labels
  const setups = study("partitioners").setups(resolveConfiguration({ ...SMALL, flags }), 2);
  assertEquals(setups.filter(({ models }) => models.includes("dense")).map(({ name }) => name), [
    ...["em-from-random-parts-4-experts-seed-0", "em-from-random-parts-4-experts-seed-1"],
    "em-from-random-parts-8-experts-seed-0",
  ]);
  const { claims } = study("partitioners").findings(
    setups.map((setup) => outcome(setup, { prefixes: { 8: 40, 256: 30 }, segments: [[30, 40, 35, 1]] })),
  );
  assertEquals(claims.length, 5);
});
