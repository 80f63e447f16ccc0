import { assertAlmostEquals, assertEquals } from "@std/assert";
import { harnessResults, writeHarnessResults } from "../../../../pipeline/evaluation/choices/harness.ts";
import type { ZeroShotResult } from "../../../../pipeline/evaluation/choices/results.ts";
import { inFolder } from "../../../tasks/support.ts";

const measure = (value: number) => ({ value, low: value, high: value, standardError: value / 10 });
const RESULT: ZeroShotResult = {
  ...{
    format: 1,
    task: "mmlu",
    questions: 3,
    published: 3,
    fewShot: 2,
    routing: "context",
    prefix: 8,
    experts: 2,
  },
  ...{ cut: 0, chance: 0.5, resamples: 10, seed: 0, ways: {}, differences: [], shares: [1, 0], sets: [] },
};
const ARC: ZeroShotResult = {
  ...{ ...RESULT, task: "arc_easy", published: 30 },
  ways: { mixture: { acc: measure(0.5), acc_norm: measure(0.75) }, dense: { acc: measure(0.25) } },
};
const MMLU: ZeroShotResult = {
  ...{ ...RESULT, ways: { mixture: { acc: measure(0.4) } } },
  sets: [{ set: "anatomy", questions: 3, ways: { mixture: { acc: measure(0.4) } }, differences: [] }],
};

Deno.test("harnessResults() names metrics, errors, groups and samples as the harness does", () => {
  const { results, groups, group_subtasks, ...rest } = harnessResults([ARC, MMLU], "mixture", {
    name: "runs/a mixture",
    limit: 3,
  });
  assertEquals(results, {
    arc_easy: {
      alias: "arc_easy",
      "acc,none": 0.5,
      "acc_stderr,none": 0.05,
      "acc_norm,none": 0.75,
      "acc_norm_stderr,none": 0.075,
    },
    mmlu: { alias: "mmlu", "acc,none": 0.4, "acc_stderr,none": 0.04 },
    mmlu_anatomy: { alias: "mmlu_anatomy", "acc,none": 0.4, "acc_stderr,none": 0.04 },
  });
  assertEquals(groups, { mmlu: { alias: "mmlu", "acc,none": 0.4, "acc_stderr,none": 0.04 } });
  assertEquals(group_subtasks, { arc_easy: [], mmlu: ["mmlu_anatomy"] });
  assertEquals(rest["n-shot"], { arc_easy: 2, mmlu: 2 });
  assertEquals(rest["n-samples"], {
    arc_easy: { original: 30, effective: 3 },
    mmlu: { original: 3, effective: 3 },
  });
  assertEquals(rest.higher_is_better, { arc_easy: { acc: true, acc_norm: true }, mmlu: { acc: true } });
  assertEquals([rest.model_name, rest.model_name_sanitized], ["runs/a mixture", "runs__a__mixture"]);
});

Deno.test("harnessResults() pools the standard errors of sets, as the harness does", () => {
  const of = (set: string, questions: number, value: number, standardError: number) => ({
    ...{ set, questions, differences: [] },
    ways: { mixture: { acc: { value, standardError } } },
  });
  const errorOf = (sets: ZeroShotResult["sets"]) => {
    const told = harnessResults([{ ...MMLU, sets }], "mixture", { name: "a" });
    return [told.results, told.groups].map((of) =>
      (of as Record<string, Record<string, number>>).mmlu["acc_stderr,none"]
    );
  };
  const pooled = Math.sqrt((9 * 10 * 0.1 ** 2 + 29 * 30 * 0.05 ** 2) / (40 - 2) / 40);
  for (const error of errorOf([of("a", 10, 0.9, 0.1), of("b", 30, 0.2, 0.05)])) {
    assertAlmostEquals(error, pooled, 1e-12);
  }
  assertEquals(errorOf([of("a", 1, 1, 0), of("b", 1, 0, 0)]), [0, 0]);
});

Deno.test("writeHarnessResults() writes a file per way of answering, with the tasks that it answered", () =>
  inFolder(async (folder) => {
    await writeHarnessResults(`${folder}/out`, [ARC, MMLU], { run: "runs/a" });
    const read = async (way: string) =>
      JSON.parse(await Deno.readTextFile(`${folder}/out/${way}/results.json`));
    assertEquals(Object.keys((await read("mixture")).results), ["arc_easy", "mmlu", "mmlu_anatomy"]);
    assertEquals(Object.keys((await read("dense")).results), ["arc_easy"]);
    assertEquals([...Deno.readDirSync(`${folder}/out`)].map(({ name }) => name).sort(), ["dense", "mixture"]);
  }));
