import { assert, assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import {
  Grid,
  rateRecipe,
  type SearchResults,
  STUDIES,
} from "../../../pipeline/reproduction/grid.ts";
import type { Configuration } from "../../../pipeline/settings/configuration.ts";
import { modelShapes, parameterSpecs } from "../../../pipeline/model/shape.ts";
import { resolveConfiguration } from "../../../pipeline/settings/resolution.ts";
import { gridOf, listRecipes, SMALL } from "./support.ts";

const ALL = [...STUDIES.keys()];
const FOUND = { routerRate: 0.006, rounds: 12, trials: [] };

const names = (grid: Grid) => grid.runs().map(({ name }) => name);

Deno.test("studies share runs, and every run has settings that go together", () => {
  const grid = gridOf(ALL, {}, { seeds: 3 });
  const asked = grid.all.filter((setup) => grid.routerRecipe(setup) === undefined);
  const runs = grid.runs();
  assertEquals(new Set(runs.map(({ name }) => name)).size, runs.length);
  assert(asked.length > runs.length, "some are needed by several studies");
  for (const run of runs) {
    const same = asked.filter(({ name }) => name === run.name);
    for (const setup of same) {
      // Throws where they do not.
      assertEquals(grid.configuration(setup), grid.configuration(run), run.name);
    }
    assertEquals(new Set(run.models), new Set(same.flatMap(({ models }) => models)));
  }
});

Deno.test("a learning rate is searched once for models that agree in shape, steps and batch", () => {
  const c = resolveConfiguration(SMALL);
  const recipe = (name: Parameters<typeof rateRecipe>[0], other = {}) =>
    rateRecipe(name, { ...c, ...other });
  // An expert is the same whatever E is.
  assertEquals(recipe("experts"), recipe("experts", { experts: 8 }));
  assert(recipe("dense") !== recipe("dense", { experts: 8 }));
  assert(recipe("dense") !== recipe("dense-steps"));
  // Whatever else a training depends on keeps it from another one's rate.
  const others: Partial<Configuration>[] = [
    { clip: 0.1 },
    { expertWarmup: 9 },
    { expertTokens: 5e7 },
    { init: "a" },
    { expertArchitecture: "llama" },
    { expertUntied: true },
  ];
  for (const other of others) {
    assert(recipe("dense") !== recipe("dense", other), JSON.stringify(other));
  }
  const own = [["switch", { switchExperts: 32 }], ["dense-compute", { denseHidden: 256 }]] as const;
  for (const [name, other] of own) {
    assert(recipe(name) !== recipe(name, other));
    assertEquals(recipe("dense"), recipe("dense", other));
  }
  assertEquals(recipe("switch"), recipe("switch", { switchRate: 0.1 })); // that is what is found
  // The larger model trains as long as the mixture's compute lasts, which is also that of routers.
  assert(recipe("dense-compute") !== recipe("dense-compute", { routerHidden: 48 }));
});

Deno.test("an evaluation measures the prefixes that any study asks for of its run, also where M is no power of two", () => {
  const lengths = (prefix: number) =>
    gridOf(["prefix"], { prefix }).runs().map(({ choices }) => choices?.routeLengths);
  assertEquals(lengths(64), [[1, 2], [1, 2], [1, 2]]);
  assertEquals(lengths(48), [[1, 2], [1, 2, 48], [1, 2]]);
  // What other studies vary need not be possible: a tree has no run with twice the experts.
  assertEquals(names(gridOf(["segments"], { levels: [2, 2] })), ["em-4-experts-seed-0"]);
});

Deno.test("both starts of routers are searched alike, once for all seeds, unless flags give the settings", () => {
  const recipes = (flags = {}) => listRecipes(gridOf(["partitioners"], flags, { seeds: 3 }));
  const [random, clusters] = recipes();
  assertEquals(recipes(), [random, clusters]);
  const searches = [...gridOf(["partitioners"], {}, { seeds: 3 }).searches(new Set())];
  assertEquals(searches.map(({ setup }) => setup.name), [
    ...["em-from-random-parts-4-experts-seed-0", "em-4-experts-seed-0"],
  ]);
  assertEquals(recipes({ seed: 7 }), [random, clusters]);
  assertEquals(recipes({ routerRate: 0.01, rounds: 3 }), []);
  assertEquals(listRecipes(gridOf(["experts"])), []);
  const others = [
    { routerWarmup: 9 },
    { rounds: 3 },
    { rounds: 4 },
    { routerRate: 0.01 },
    { routerRate: 0.02 },
    { routerArchitecture: "llama" },
  ];
  assertEquals(new Set([{}, ...others].flatMap(recipes)).size, 14);
});

Deno.test("what was found for routers holds in the runs of partitioners alone, and all studies keep theirs", () => {
  const gridWith = (routers: SearchResults["routers"]) =>
    gridOf(ALL, {}, { seeds: 3, known: { routers } });
  const grid = gridWith({});
  const [random, clusters] = listRecipes(grid);
  const { routerRate, rounds } = grid.preset;
  const preset = { routerRate, rounds, trials: [] };
  const before = names(gridWith({ [random]: preset, [clusters]: preset }));
  const after = names(gridWith({ [random]: preset, [clusters]: FOUND }));
  const other = (run: string, seed = 0) =>
    `${run}-experts-router-rate-0.006-rounds-12-seed-${seed}`;
  // Runs with twice the experts, and those whose parts stay, take what was found for these.
  assertEquals(after.filter((name) => !before.includes(name)), [
    ...[0, 1, 2].map((seed) => other("em-4", seed)),
    ...["fixed-clusters-4", "em-8"].map((run) => other(run)),
  ]);
  // The study of experts takes three seeds of em, too.
  assertEquals(before.filter((name) => !after.includes(name)), ["fixed-clusters-4-experts-seed-0"]);
  const [, renamed] = gridWith({ [random]: FOUND }).runs().filter(({ searchesRouters }) =>
    searchesRouters
  );
  const { name, settings } = renamed;
  assertEquals([name, settings.routerRate, settings.rounds], [
    "em-from-random-parts-4-experts-router-rate-0.006-rounds-12-seed-1",
    ...[0.006, 12],
  ]);
});

Deno.test("settings of routers that flags give win over what was found, and have searches of their own", () => {
  const [plain] = listRecipes(gridOf(["partitioners"]));
  for (const flags of [{ rounds: 3 }, { routerRate: 0.02 }]) {
    const gridWith = (routers: SearchResults["routers"], given: Partial<Configuration> = flags) =>
      gridOf(["partitioners"], given, { known: { routers } });
    const [first] = gridWith({}).all;
    // A search without these flags.
    assertEquals(gridWith({ [plain]: FOUND }).resolved(first), undefined);
    const [own] = listRecipes(gridWith({}));
    const grid = gridWith({ [own]: FOUND });
    const { routerRate, rounds } = grid.configuration(grid.resolved(first)!);
    assertEquals({ routerRate, rounds }, { routerRate: 0.006, rounds: 12, ...flags });
    // A command that gives none tells of such runs, too, unless it is unclear of which.
    const resolve = (routers: SearchResults["routers"]) =>
      gridWith(routers, {}).resolved(first, true)?.name;
    assertEquals(resolve({ [own]: FOUND })?.includes("rate-0.006"), true);
    assertEquals(resolve({ [own]: FOUND, [`${own} and more`]: FOUND }), undefined);
  }
});

Deno.test("some runs alone are listed, by their names before or after a search; a rate is searched for where it always is", () => {
  const [random] = listRecipes(gridOf(["partitioners"]));
  const gridFor = (only: string[], routers: SearchResults["routers"] = {}) =>
    gridOf(["partitioners"], {}, { seeds: 3, only, known: { routers } });
  const only = ["em-from-random-parts-4-experts-seed-1", "random-4-experts-seed-0"];
  assertEquals(names(gridFor(only)), [only[1]]); // the other one's settings are searched for
  const renamed = "em-from-random-parts-4-experts-router-rate-0.006-rounds-12-seed-1";
  const found = { [random]: FOUND };
  assertEquals(names(gridFor(only, found)), [renamed, only[1]]);
  gridFor([...only, renamed], found).checkNames();
  assertEquals(names(gridFor([renamed], found)), [renamed]);
  assertThrows(
    () => gridFor([renamed]).checkNames(),
    InputError,
    `Cannot make only ${renamed} as it must be one of em-from-random-parts-4-experts-seed-0, `,
  );
  const grid = gridFor(only);
  const recipe = rateRecipe("experts", grid.preset);
  assertEquals(grid.rateSearcher(recipe).name, "em-from-random-parts-4-experts-seed-0");
});

Deno.test("the runs of ways that are not routers are not balanced, unless flags say how text is assigned", () => {
  const grid = gridOf(["partitioners"]);
  for (const setup of grid.all) {
    const own = grid.configuration(setup);
    assertEquals(
      own.method,
      ["random", "source"].includes(own.partitioner) ? "argmax" : "balanced",
    );
    assertEquals(gridOf([], { method: "optimal" }).configuration(setup).method, "optimal");
  }
});

Deno.test("runs have the settings of preset, file and flags, later ones first, and no rate that is searched for", () => {
  const file = { experts: 8, prefix: 32, expertRate: 1 };
  const flags = { prefix: 16, denseRate: 1 };
  const { preset: { experts, prefix, expertRate, denseRate } } = new Grid([], {
    ...SMALL,
    file,
    flags,
  });
  const usual = resolveConfiguration({});
  assertEquals([experts, prefix, expertRate, denseRate], [
    8,
    16,
    usual.expertRate,
    usual.denseRate,
  ]);
});

Deno.test("the runs of both architectures have as many weights in their matrices", () => {
  const grid = gridOf(["architecture"], {}, { seeds: 3 });
  const weights = grid.all.map((setup) => {
    const { expert } = modelShapes(grid.configuration(setup));
    return parameterSpecs(expert).filter(({ shape }) => shape.length === 2)
      .reduce((sum, { shape: [rows, columns = 1] }) => sum + rows * columns, 0);
  });
  assertEquals(weights, Array(6).fill(weights[0]));
  const names = grid.all.map(({ name }) => name);
  assertEquals(names.filter((name) => name.startsWith("em-4-experts")).length, 3);
  assertEquals(grid.all[3].settings.expertArchitecture, "llama");
  const llama = gridOf(["architecture"], { expertArchitecture: "llama" });
  assertThrows(
    () => llama.studies[0].check!(llama.preset),
    InputError,
    "expertArchitecture must be gpt-neox, as the study sets the other: it is llama",
  );
});

Deno.test("a run whose models begin from a dense model waits for that one, whichever runs are made alone", () => {
  const jobs = (only: string[] = []) => {
    const grid = gridOf(["branch"], {}, { seeds: 2, only });
    const seen = new Set<string>();
    return grid.runs().flatMap((setup) => [...grid.jobs(setup, seen)]).map(({ work, setup }) =>
      `${work} ${setup.name}`
    );
  };
  const [begin, branched] = ["em-4-experts-seed-1", "em-branch-4-experts-seed-1"];
  for (const all of [jobs(), jobs([branched])]) {
    assertEquals(all.filter((job) => job.startsWith("train") && job.endsWith("1")), [
      `train ${begin}`,
      `train ${branched}`,
    ]);
    assert(all.indexOf(`train ${begin}`) < all.indexOf(`split ${branched}`));
  }
  const grid = gridOf(["branch"]);
  const [first, second] = grid.all.map((setup) => grid.rateRecipe("experts", setup));
  assertEquals(second, `${first}, from a dense model`);
});
