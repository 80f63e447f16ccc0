import { assertEquals } from "@std/assert";
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
  assertEquals(table.rows.length, setups.length);
  assertEquals(table.rows[0].slice(-2), ["60.0%", "those of the preset"]);
  assertEquals(table.rows.at(-1)!.at(-1), null); // parts by source have no routers
  const found6 = setups.map((setup) =>
    outcome({ ...setup, settings: { ...setup.settings, routerRate: 0.006, rounds: 6 } }, {
      ...{ prefixes: { 8: 1, 256: 1 }, segments: [[30, 40, 35, 0.6]] },
    })
  );
  assertEquals(study("partitioners").findings(found6).table.rows[0].at(-1), "0.006 × 6");
  assertEquals(plots[0].table.rows.length, 6); // of the first seed
  // One seed that is behind is enough for a no.
  assertEquals(found({ "em-4-experts-seed-1": { 8: 41 } }).claims[0].holds, false);
});
