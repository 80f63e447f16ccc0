import { assert, assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../../kernels/errors.ts";
import { configurationOf, routerSearchesOf } from "../../../../pipeline/reproduction/studies/pieces.ts";
import {
  mixtureLoss,
  readRouterSearches,
  routerRecipeOf,
  type RouterSettings,
  searchRouters,
  withRouters,
  writeRouterSearches,
} from "../../../../pipeline/reproduction/studies/router_search.ts";
import { resolveConfiguration } from "../../../../pipeline/settings/resolution.ts";
import { inFolder } from "../../../tasks/support.ts";
import { setupsFor, SMALL, study } from "./support.ts";

const PRESET = { routerRate: 0.004, rounds: 12 };

/** Loss that is least at `best`, by how many factors of two away from it. */
const away = (best: RouterSettings) => ({ routerRate, rounds }: RouterSettings) =>
  Promise.resolve(
    Math.abs(Math.log2(routerRate / best.routerRate)) + Math.abs(Math.log2(rounds / best.rounds)),
  );

Deno.test("searchRouters() finds rate and rounds, each between worse ones, and tries nothing twice", async () => {
  for (const best of [PRESET, { routerRate: 0.008, rounds: 6 }, { routerRate: 0.002, rounds: 24 }]) {
    const { routerRate, rounds, trials } = await searchRouters(PRESET, {}, away(best));
    assertEquals({ routerRate, rounds }, best);
    const tried = trials.map((trial) => `${trial.routerRate} ${trial.rounds}`);
    assertEquals(new Set(tried).size, tried.length);
    for (const [rate, times] of [[2, 1], [1 / 2, 1], [1, 2], [1, 1 / 2]]) {
      const rateTried = rate === 1 || tried.some((trial) => trial.startsWith(`${best.routerRate * rate} `));
      assert(rateTried && (times === 1 || tried.includes(`${best.routerRate} ${best.rounds * times}`)));
    }
  }
});

Deno.test("searchRouters() leaves what is given, and the preset's settings unless others are clearly better", async () => {
  const given = await searchRouters(PRESET, { rounds: 12 }, away({ routerRate: 0.008, rounds: 24 }));
  assertEquals([given.routerRate, given.rounds], [0.008, 12]);
  const noise = await searchRouters(
    PRESET,
    {},
    ({ routerRate, rounds }) => Promise.resolve(routerRate === 0.004 && rounds === 12 ? 3.009 : 3),
  );
  assertEquals([noise.routerRate, noise.rounds], [0.004, 12]);
  const diverging = await searchRouters(
    PRESET,
    {},
    ({ routerRate, rounds }) => Promise.resolve(routerRate > 0.003 ? Infinity : rounds / 1000),
  );
  assertEquals([diverging.routerRate, diverging.rounds], [0.002, 12]);
  const more = await searchRouters(PRESET, { routerRate: 0.004 }, away({ routerRate: 0.004, rounds: 1e4 }));
  assertEquals(more.trials.map(({ rounds }) => rounds), [12, 24, 48]);
  assertEquals(more.rounds, 48);
});

Deno.test("searches are noted side by side, with trials that diverged, and damage is told", () =>
  inFolder(async (root) => {
    assertEquals(await readRouterSearches(root), {});
    const search = {
      ...PRESET,
      trials: [{ ...PRESET, validationLoss: 3 }, { ...PRESET, validationLoss: Infinity }],
    };
    await writeRouterSearches(root, { one: search });
    await writeRouterSearches(root, { two: { ...search, rounds: 6 } });
    assertEquals(await readRouterSearches(root), { one: search, two: { ...search, rounds: 6 } });
    await Deno.writeTextFile(`${root}/routers.json`, "{}");
    await assertRejects(() => readRouterSearches(root), InputError, "settings of routers");
  }));

Deno.test("both starts are searched alike, once for all seeds, and no search is needed where flags give the settings", () => {
  const studies = [study("partitioners")];
  const searches = routerSearchesOf(studies, SMALL, 3);
  assertEquals([...searches.values()].map(({ name }) => name), [
    "em-from-random-parts-4-experts-seed-0",
    "em-4-experts-seed-0",
  ]);
  const [random, clusters] = [...searches.values()].map((setup) => configurationOf(SMALL, setup));
  assertEquals([random.start, { ...clusters, start: "random" }], ["random", random]);
  assertEquals(routerSearchesOf([study("experts")], SMALL, 3).size, 0);
  const flags = { routerRate: 0.01, rounds: 3 };
  assertEquals(routerSearchesOf(studies, { ...SMALL, flags }, 3).size, 0);
  assertEquals(routerSearchesOf(studies, { ...SMALL, flags: { rounds: 3 } }, 3).size, 2);
  const c = resolveConfiguration(SMALL);
  assert(routerRecipeOf(c) !== routerRecipeOf({ ...c, experts: 8 }));
  assertEquals(routerRecipeOf(c), routerRecipeOf({ ...c, seed: 7, routerRate: 1, rounds: 1 }));
  const others = [
    routerRecipeOf({ ...c, routerWarmup: c.routerWarmup + 1 }),
    ...[{ rounds: 3 }, { rounds: 4 }, { routerRate: 0.01 }, { routerRate: 0.02 }].map((given) =>
      routerRecipeOf(c, given)
    ),
  ];
  assertEquals(new Set([routerRecipeOf(c), ...others]).size, 6);
});

Deno.test("a run keeps its name with the preset's settings of routers, and has another with others", () => {
  const preset = resolveConfiguration(SMALL);
  const [setup] = setupsFor("partitioners");
  const same = withRouters(setup, preset, preset);
  assertEquals(same.name, setup.name);
  assertEquals(configurationOf(SMALL, same), configurationOf(SMALL, setup));
  const other = withRouters(setup, { routerRate: 0.006, rounds: 24 }, preset);
  assertEquals(other.name, "em-from-random-parts-4-experts-router-rate-0.006-rounds-24-seed-0");
  const { routerRate, rounds } = configurationOf(SMALL, other);
  assertEquals([routerRate, rounds], [0.006, 24]);
});

Deno.test("the loss of a mixture weights experts by the held-out text that goes to them", () => {
  assertAlmostEquals(mixtureLoss([2, 4], [300, 100]), 2.5);
  assertEquals(mixtureLoss([2, Infinity], [300, 0]), 2); // an expert that gets none has no loss
  assertEquals(mixtureLoss([2, Infinity], [300, 1]), Infinity);
});
