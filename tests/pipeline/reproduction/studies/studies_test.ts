import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { resolveConfiguration } from "../../../../pipeline/settings/resolution.ts";
import { flagsOf, recipeOf, setupsOf } from "../../../../pipeline/reproduction/studies/pieces.ts";
import { planStudies } from "../../../../pipeline/reproduction/studies/plan.ts";
import { studiesMarkdown } from "../../../../pipeline/reproduction/studies/results.ts";
import { STUDIES } from "../../../../pipeline/reproduction/studies/studies.ts";
import type { Outcome } from "../../../../pipeline/reproduction/studies/study.ts";
import { inFolder } from "../../../tasks/support.ts";

const SMALL = { preset: "small" };
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
});

Deno.test("planStudies() counts every piece once, and no piece of the small preset takes longer than 45 minutes", () =>
  inFolder(async (root) => {
    const { pieces, seconds } = await planStudies({ run: root, studies: ["all"], sources: SMALL, seeds: 3 });
    const names = pieces.map(({ run, piece }) => `${run} ${piece}`);
    assertEquals(new Set(names).size, names.length);
    assertEquals(pieces.filter(({ done }) => done), []);
    for (const { seconds, run, piece } of pieces) assert(seconds <= 45 * 60, `${run}, ${piece}: ${seconds}`);
    assertEquals(Math.round(pieces.reduce((sum, piece) => sum + piece.seconds, 0)), Math.round(seconds));
    const twice = await planStudies({
      ...{ run: root, studies: ["all"], sources: SMALL, seeds: 3 },
      device: { flops: 125e9 },
    });
    assert(Math.abs(twice.seconds / seconds - 1 / 2) < 1e-9);
  }));

/** An outcome of the study of experts, with the gains that it is given. */
function outcome(experts: number, gains: [percent: number, low: number, high: number][]): Outcome {
  const [setup] = STUDIES.get("experts")!.setups(resolveConfiguration(SMALL), 1).filter(({ settings }) =>
    settings.experts === experts
  );
  const score = (perplexity: number) => ({
    nllPerToken: Math.log(perplexity),
    perplexity,
    low: perplexity - 1,
    high: perplexity + 1,
  });
  const baselines = ["dense", "dense-steps"] as const;
  return {
    setup,
    evaluation: {
      experts,
      scores: { mixture: score(30), dense: score(40), "dense-steps": score(35) },
      gains: gains.map(([percent, low, high], i) => ({ baseline: baselines[i], percent, low, high })),
    },
    partition: { experts: Array.from({ length: experts }, () => ({ tokens: 1000 })) },
    trained: { experts: [{ tokens: 2500 }] },
  } as unknown as Outcome;
}

Deno.test("the study of experts says whether the gain grows with E, beyond which interval, and how often text was seen", () => {
  const study = STUDIES.get("experts")!;
  const grows = study.findings([
    outcome(2, [[8, 6, 10], [1, -1, 3]]),
    outcome(4, [[12, 9, 14], [3, 1, 5]]),
    outcome(8, [[20, 17, 22], [-4, -6, -2]]),
  ]);
  assertEquals(grows.claims.map(({ holds }) => holds), [true, true, false, true, true, true, false]);
  assertStringIncludes(grows.claims[0].here, "2: 8.0%, 4: 12.0%, 8: 20.0%");
  assertEquals(grows.claims.at(-1)!.here, "4.0% higher [2.0%, 6.0%]");
  assertEquals(grows.table.rows[0].at(-1), "2.5"); // 2,500 tokens of 1,000
  const stays = study.findings([outcome(2, [[8, 6, 10]]), outcome(4, [[7, 5, 9]])]);
  assertEquals(stays.claims[0].holds, false);
  const markdown = studiesMarkdown([{ study, findings: grows }]);
  for (
    const text of [
      study.question,
      study.paper,
      "| 2 experts | 30.00 [29.00, 31.00] |",
      "plots/study-experts.svg",
    ]
  ) {
    assertStringIncludes(markdown, text);
  }
});
