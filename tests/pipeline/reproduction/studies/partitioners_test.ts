import { assertEquals } from "@std/assert";
import type { Outcome } from "../../../../pipeline/reproduction/studies/study.ts";
import { outcome, setupsFor, study } from "./support.ts";

Deno.test("the study of partitioners compares seed by seed, and routers from clusters are not taken for others", () => {
  const setups = setupsFor("partitioners", 2);
  assertEquals(setups.length, 9); // three ways with two seeds, three with one
  const perplexity: Record<string, number> = { em: 30, "em-from-clusters": 28, ctbm: 29 };
  const found = (more: Record<string, Record<number, number>> = {}) =>
    study("partitioners").findings(setups.map((setup) => {
      const way = setup.name.split("-4-")[0];
      const mixture = perplexity[way] ?? 33;
      return outcome(setup, {
        mixture,
        prefixes: { 8: way === "ctbm" ? 40 : mixture + 5, 256: mixture - 1, ...more[setup.name] },
        segments: [[mixture, 40, 35, 0.6], [mixture, 40, 35, 0.4]],
      });
    }));
  const { claims, table, plots } = found();
  assertEquals(claims.map(({ holds }) => holds), [true, false, true]);
  assertEquals(claims[0].here, "35.00 and 40.00; 35.00 and 40.00");
  assertEquals(claims[1].here, "29.00 and 28.00; 29.00 and 28.00");
  assertEquals(claims[2].here, "28.00 and 30.00; 28.00 and 30.00");
  assertEquals(table.rows.length, setups.length + 3);
  assertEquals(table.rows[0].slice(-2), ["60.0%", "those of the preset"]);
  assertEquals(table.rows[setups.length - 1].at(-1), null); // parts by source have no routers
  assertEquals(table.rows.slice(setups.length).map(([label]) => label), [
    "routers from random parts, 2 seeds: mean ± standard deviation",
    "routers from clusters, 2 seeds: mean ± standard deviation",
    "clusters of TF-IDF (c-BTM), 2 seeds: mean ± standard deviation",
  ]);
  // 35 and 41 tokens' worth of perplexity: the mean is 38, the sample's deviation 3 √2.
  assertEquals(found({ "em-4-experts-seed-1": { 8: 41 } }).table.rows[setups.length].slice(1, 6), [
    ...["38.00 ± 4.24", "29.00 ± 0.00", "30.00 ± 0.00", "28.00 ± 0.00"],
    null,
  ]);
  const found6 = setups.map((setup) =>
    outcome({ ...setup, settings: { ...setup.settings, routerRate: 0.006, rounds: 6 } }, {
      ...{ prefixes: { 8: 1, 256: 1 }, segments: [[30, 40, 35, 0.6]] },
    })
  );
  assertEquals(study("partitioners").findings(found6).table.rows[0].at(-1), "0.006 × 6");
  assertEquals(plots[0].table.rows.length, 6); // of the first seed
  // Two experts together stand below the one that answers alone.
  const first = setups.findIndex(({ choices }) => choices?.mix);
  const mixed = study("partitioners").findings(setups.map((setup, i) => {
    const one = outcome(setup, { prefixes: { 8: 40, 256: 30 }, segments: [[30, 40, 35, 1]] });
    const score = { perplexity: 27, low: 26, high: 28 };
    const mix = { experts: 2, ...score, prefixes: [{ prefix: 8, ...score, perplexity: 27.5 }] };
    return i === first
      ? { ...one, evaluation: { ...one.evaluation, mixing: { temperature: 1, mixes: [mix] } } } as Outcome
      : one;
  })).table.rows;
  assertEquals(mixed[first + 1].slice(0, 4), [
    `${setups[first].label}, 2 experts together`,
    ...["27.50 [26.00, 28.00]", null, "27.00 [26.00, 28.00]"],
  ]);
  // One seed that is behind is enough for a no.
  assertEquals(found({ "em-4-experts-seed-1": { 8: 41 } }).claims[0].holds, false);
});
