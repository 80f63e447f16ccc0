import { assert, assertEquals } from "@std/assert";
import type { Outcome } from "../../../../pipeline/reproduction/studies/study.ts";
import { outcome, setupsFor, study } from "./support.ts";

Deno.test("the study of partitioners compares seed by seed, and routers from clusters are not taken for others", () => {
  const setups = setupsFor("partitioners", 2);
  assertEquals(setups.length, 11); // three ways with two seeds, three with one, two again with twice the experts
  const perplexity: Record<string, number> = {
    ...{ em: 30, "em-from-clusters": 28, ctbm: 29, random: 41 },
    ...{ "em-8": 26, "em-from-clusters-8": 27 },
  };
  const found = (more: Record<string, Record<number, number>> = {}) =>
    study("partitioners").findings(setups.map((setup) => {
      const way = setup.name.split("-4-")[0];
      const mixture = perplexity[way.split("-experts-")[0]] ?? 33;
      return outcome(setup, {
        mixture,
        prefixes: { 8: way === "ctbm" ? 40 : mixture + 5, 256: mixture - 1, ...more[setup.name] },
        segments: [[mixture, 40, 35, 0.6], [mixture, 40, 35, 0.4]],
      });
    }));
  const { claims, table, plots } = found();
  assertEquals(claims.map(({ holds }) => holds), [true, false, true, false, true]);
  assertEquals(claims[0].here, "35.00 and 40.00; 35.00 and 40.00");
  assertEquals(claims[1].here, "29.00 and 28.00; 29.00 and 28.00");
  assertEquals(claims[2].here, "28.00 and 30.00; 28.00 and 30.00");
  assertEquals(claims[3].here, "27.00 and 26.00"); // with eight experts
  assertEquals(claims[4].here, "41.00 and 40.00"); // random parts, and the dense model beside em
  const labels = table.rows.map(([label]) => label);
  assertEquals(labels.slice(0, 3), [setups[0].label, "dense, 4× batch", "dense, 4× steps"]);
  assertEquals(table.rows[1].slice(1), [null, null, "40.00 [39.00, 41.00]", null, null, null, null]);
  assert(labels.includes("dense, 4× steps, seed 1"));
  assert(labels.includes("dense, 8× batch") && !labels.includes("dense, 8× steps"));
  assertEquals(table.rows.length, setups.length + 5 + 3);
  assertEquals(table.rows[0].slice(-2), ["60.0%", "those of the preset"]);
  assertEquals(table.rows[labels.indexOf("parts by source")].at(-1), null); // they have no routers
  assertEquals(labels.slice(-3), [
    "routers from random parts, 2 seeds: mean ± standard deviation",
    "routers from clusters, 2 seeds: mean ± standard deviation",
    "clusters of TF-IDF (c-BTM), 2 seeds: mean ± standard deviation",
  ]);
  // 35 and 41 tokens' worth of perplexity: the mean is 38, the sample's deviation 3 √2.
  assertEquals(found({ "em-4-experts-seed-1": { 8: 41 } }).table.rows.at(-3)!.slice(1, 6), [
    ...["38.00 ± 4.24", "29.00 ± 0.00", "30.00 ± 0.00", "28.00 ± 0.00"],
    null,
  ]);
  const found6 = setups.map((setup) =>
    outcome({ ...setup, settings: { ...setup.settings, routerRate: 0.006, rounds: 6 } }, {
      ...{ prefixes: { 8: 1, 256: 1 }, segments: [[30, 40, 35, 0.6]] },
    })
  );
  assertEquals(study("partitioners").findings(found6).table.rows[0].at(-1), "0.006 × 6");
  assertEquals(plots[0].table.rows.length, 6 + 2); // of the first seed, and its dense models
  assertEquals(plots[1].table.rows.map(([label]) => label), [
    ...["routers from random parts, 8 experts", "routers from clusters, 8 experts"],
    ...["dense, 8× batch", "dense, 8× steps"],
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
  // One seed that is behind is enough for a no.
  assertEquals(found({ "em-4-experts-seed-1": { 8: 41 } }).claims[0].holds, false);
});
