import { assert, assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../../../kernels/errors.ts";
import {
  configurationOf,
  flagsOf,
  namedRuns,
  partsOf,
  rateSearchersOf,
  recipeOf,
  routerSearchesOf,
  settledSetups,
  setupsOf,
} from "../../../../pipeline/reproduction/studies/pieces.ts";
import type { AdapterKind } from "../../../../kernels/device/variants.ts";
import type { Rates } from "../../../../pipeline/reproduction/studies/rates.ts";
import type { RouterSearches } from "../../../../pipeline/reproduction/studies/router_search.ts";
import type { Setup } from "../../../../pipeline/reproduction/studies/study.ts";
import { STUDIES } from "../../../../pipeline/reproduction/studies/studies.ts";
import { resolveConfiguration } from "../../../../pipeline/settings/resolution.ts";
import { SMALL } from "./support.ts";

const ALL = [...STUDIES.values()];

Deno.test("studies share runs, and every run has settings that go together", () => {
  const setups = setupsOf(ALL, SMALL, 3);
  assertEquals(new Set(setups.map(({ name }) => name)).size, setups.length);
  const asked = ALL.flatMap((study) => study.setups(resolveConfiguration(SMALL), 3));
  assert(asked.length > setups.length, "some are needed by several studies");
  for (const setup of setups) {
    resolveConfiguration({ flags: flagsOf(SMALL, setup) }); // throws where settings do not go together
    const same = asked.filter(({ name }) => name === setup.name);
    for (const { settings } of same) {
      const [one, other] = [settings, setup.settings].map((settings) =>
        resolveConfiguration({ flags: { ...flagsOf(SMALL, setup), ...settings } })
      );
      assertEquals(one, other, setup.name); // one name, one run
    }
    assertEquals(new Set(setup.models), new Set(same.flatMap(({ models }) => models)));
  }
});

Deno.test("a learning rate is searched once for models that agree in shape, steps and batch", () => {
  const c = resolveConfiguration(SMALL);
  const more = { ...c, experts: 8 };
  assertEquals(recipeOf("experts", c), recipeOf("experts", more)); // an expert is the same whatever E is
  assert(recipeOf("dense", c) !== recipeOf("dense", more));
  assert(recipeOf("dense", c) !== recipeOf("dense-steps", c));
  assert(recipeOf("experts", c) !== recipeOf("experts", { ...c, expertSteps: 2 * c.expertSteps }));
  // Whatever else a training depends on keeps it from another one's rate.
  for (const other of [{ clip: 0.1 }, { expertWarmup: 9 }, { expertTokens: 5e7 }, { init: "a" }]) {
    assert(recipeOf("dense", c) !== recipeOf("dense", { ...c, ...other }), JSON.stringify(other));
  }
  for (
    const [name, other] of [["switch", { switchExperts: 32 }], ["dense-compute", {
      denseHidden: 256,
    }]] as const
  ) {
    assert(recipeOf(name, c) !== recipeOf(name, { ...c, ...other }));
    assertEquals(recipeOf("dense", c), recipeOf("dense", { ...c, ...other }));
  }
  assertEquals(recipeOf("switch", c), recipeOf("switch", { ...c, switchRate: 0.1 })); // that is what is found
  // The larger model trains as long as the mixture's compute lasts, which is also that of routers.
  assert(recipeOf("dense-compute", c) !== recipeOf("dense-compute", { ...c, routerHidden: 48 }));
  assertEquals(recipeOf("dense", c), recipeOf("dense", { ...c, routerHidden: 48 }));
});

Deno.test("an evaluation measures the prefixes that any study asks for, also where M is no power of two", () => {
  const studies = ["prefix", "short"].map((name) => STUDIES.get(name)!);
  const lengths = (prefix: number) =>
    setupsOf([studies[0]], { ...SMALL, flags: { prefix } }, 1).map(({ choices }) => choices?.routeLengths);
  assertEquals(lengths(64), [[1, 2], [1, 2], [1, 2]]);
  assertEquals(lengths(48), [[1, 2], [1, 2, 48], [1, 2]]);
  for (const study of studies) {
    const [, short] = study.setups(resolveConfiguration({ ...SMALL, flags: { prefix: 48 } }), 1);
    assertEquals([short.settings.prefix, short.choices?.routeLengths?.at(-1)], [4, 48]);
  }
});

Deno.test("what was found for routers holds in the runs of partitioners alone, and all studies keep theirs", () => {
  const [, recipe] = routerSearchesOf(ALL, SMALL, 3).keys(); // of routers that begin as the preset's do
  const found = { [recipe]: { routerRate: 0.006, rounds: 12, trials: [] } };
  const before = setupsOf(ALL, SMALL, 3);
  const after = setupsOf(ALL, SMALL, 3, { searches: found });
  const names = (setups: readonly Setup[]) => setups.map(({ name }) => name);
  const more = names(after).filter((name) => !names(before).includes(name));
  const other = (run: string, seed = 0) => `${run}-experts-router-rate-0.006-rounds-12-seed-${seed}`;
  // Runs with twice the experts, and those whose parts stay, take what was found for these.
  assertEquals(more, [
    ...[0, 1, 2].map((seed) => other("em-4", seed)),
    ...["fixed-clusters-4", "em-8"].map((run) => other(run)),
  ]);
  // The study of experts takes three seeds of em, too.
  assertEquals(names(before).filter((name) => !names(after).includes(name)), [
    "fixed-clusters-4-experts-seed-0",
  ]);
  const { routerRate, rounds } = resolveConfiguration(SMALL);
  const kept = { [recipe]: { routerRate, rounds, trials: [] } };
  assertEquals(names(setupsOf(ALL, SMALL, 3, { searches: kept })), names(before));
});

Deno.test("a learning rate is searched for by the same run whatever is known, at once unless its routers are open", () => {
  const partitioners = STUDIES.get("partitioners")!;
  const [random, clusters] = routerSearchesOf([partitioners], SMALL, 1).keys();
  const other = { routerRate: 0.006, rounds: 12, trials: [] };
  const first = (searches: RouterSearches) =>
    new Set(rateSearchersOf([partitioners], SMALL, 1, searches).values());
  const named = (run: string) => `${run}-experts-router-rate-0.006-rounds-12-seed-0`;
  const experts = named("em-from-random-parts-4"); // the first run of all searches for the rate of experts
  const dense = ["em-4", "em-8"].map(named); // dense models are trained beside routers that begin as the preset's do
  assertEquals(first({}), new Set([undefined]));
  assertEquals(first({ [random]: other }), new Set([experts, undefined])); // the other start is still open
  assertEquals(first({ [clusters]: other }), new Set([undefined, ...dense]));
  assertEquals(first({ [random]: other, [clusters]: other }), new Set([experts, ...dense]));
  // While a rate is missing, a run that is listed searches for it, or the search for that run's routers is open.
  for (
    const studies of [ALL, ALL.toReversed(), [partitioners], ...ALL.map((study) => [partitioners, study])]
  ) {
    const recipes = setupsOf(studies, SMALL, 1).flatMap((setup) =>
      setup.models.map((model) => recipeOf(model, configurationOf(SMALL, setup)))
    );
    const known = [{}, { [random]: other }, { [clusters]: other }, { [random]: other, [clusters]: other }];
    const maps = known.map((searches) => {
      const listed = setupsOf(studies, SMALL, 1, { searches, openToo: false });
      const searchers = rateSearchersOf(studies, SMALL, 1, searches);
      assertEquals(new Set(searchers.keys()), new Set(recipes));
      for (const [recipe, name] of searchers) {
        if (name === undefined) continue;
        const run = listed.find((setup) => setup.name === name);
        assert(run?.models.some((model) => recipeOf(model, configurationOf(SMALL, run)) === recipe), name);
      }
      return searchers;
    });
    const last = maps.at(-1)!;
    for (const [recipe, name] of maps.flatMap((searchers) => [...searchers])) {
      assert(name === undefined || name === last.get(recipe), `${name}, ${last.get(recipe)}`);
    }
    assert([...last.values()].every((name) => name !== undefined));
  }
});

Deno.test("settings of routers that flags give win over what was found, and have searches of their own", () => {
  const partitioners = STUDIES.get("partitioners")!;
  const [plain] = routerSearchesOf([partitioners], SMALL, 1).keys();
  const found = { routerRate: 0.006, rounds: 12, trials: [] };
  for (const flags of [{ rounds: 3 }, { routerRate: 0.02 }, { routerRate: 0.02, rounds: 3 }]) {
    const sources = { ...SMALL, flags };
    const settledBy = (searches: RouterSearches) => {
      const [first] = settledSetups(partitioners, sources, 1, { searches });
      assert(first.searchesRouters);
      const { routerRate, rounds } = configurationOf(sources, first);
      return { routerRate, rounds };
    };
    const { routerRate, rounds } = resolveConfiguration(sources);
    assertEquals(settledBy({ [plain]: found }), { routerRate, rounds }); // a search without these flags
    const [own] = routerSearchesOf([partitioners], sources, 1).keys();
    if (own === undefined) continue; // both are given
    const { trials: _, ...settings } = found;
    assertEquals(settledBy({ [own]: found }), { ...settings, ...flags });
  }
});

Deno.test("of studies some runs alone are listed, with the searches that they wait for", () => {
  const partitioners = [STUDIES.get("partitioners")!];
  const only = ["em-from-random-parts-4-experts-seed-1", "random-4-experts-seed-0"];
  const names = (searches: RouterSearches) =>
    setupsOf(partitioners, SMALL, 3, { searches, only }).map(({ name }) => name);
  assertEquals(names({}), only);
  const all = routerSearchesOf(partitioners, SMALL, 3);
  const [[random, first], [clusters]] = all;
  assertEquals(all.size, 2);
  const waitedFor = (
    rates: Rates,
    ...only: string[]
  ) => [...routerSearchesOf(partitioners, SMALL, 3, { only, rates })];
  assertEquals(waitedFor({}, only[0]), [[random, first]]); // of seed 0, as ever
  // Random parts need no routers, but the rate of their experts is searched for in the first run, which does.
  assertEquals(waitedFor({}, only[1]), [[random, first]]);
  const rates = { [recipeOf("experts", resolveConfiguration(SMALL))]: { rate: 0.004, trials: [] } };
  assertEquals(waitedFor(rates, only[1]), []);
  const both = waitedFor({}, "em-4-experts-seed-2").map(([recipe]) => recipe);
  assertEquals(both, [random, clusters]);
  // The name of a run that a search gives another one still stands for it.
  const searches = { [random]: { routerRate: 0.006, rounds: 12, trials: [] } };
  const renamed = "em-from-random-parts-4-experts-router-rate-0.006-rounds-12-seed-1";
  assertEquals(names(searches), [renamed, only[1]]);
  assertEquals(namedRuns([...only, renamed], partitioners, SMALL, 3, searches), [...only, only[0]]);
  assertThrows(
    () => namedRuns([renamed], partitioners, SMALL, 3, {}),
    InputError,
    `Cannot make only ${renamed} as it must be one of em-from-random-parts-4-experts-seed-0, `,
  );
});

Deno.test("partsOf() gives a process a few experts, each once, and a baseline by itself", () => {
  const parts = (experts: number, kind: AdapterKind) =>
    partsOf("experts", experts, kind).map(({ experts }) => experts);
  assertEquals(parts(5, "software"), [[0, 1], [2, 3], [4]]);
  assertEquals(parts(5, "gpu"), [[0, 1, 2, 3], [4]]);
  assertEquals(partsOf("experts", 2, "gpu"), [{ names: ["expert-00", "expert-01"], experts: [0, 1] }]);
  assertEquals(partsOf("switch", 8, "gpu"), [{ names: ["switch"], experts: [] }]);
});
