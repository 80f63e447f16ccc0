import { assertAlmostEquals, assertEquals } from "@std/assert";
import {
  type ChoiceWay,
  type Difference,
  harnessResults,
  judge,
  listWays,
  topWay,
  writeHarnessResults,
  type ZeroShotResult,
} from "../../../../pipeline/evaluation/choices/results.ts";
import { inFolder } from "../../../tasks/support.ts";

Deno.test("judge() reports better or worse only where the interval leaves out zero; a lower perplexity is better", () => {
  const of = (metric: Difference["metric"], low: number, high: number) => judge({ metric, low, high });
  assertEquals([of("acc", 0.1, 0.2), of("acc", -0.2, -0.1)], ["better", "worse"]);
  assertEquals([of("acc", -0.1, 0.2), of("acc", 0, 0.2), of("acc", 0, 0)], ["equal", "equal", "equal"]);
  assertEquals([of("perplexity", 1, 2), of("perplexity", -2, -1)], ["worse", "better"]);
});

Deno.test("listWays() lists what answered some task: the mixture, then fewer experts together before more, then the others", () => {
  const result = (...ways: ChoiceWay[]) =>
    ({ ways: Object.fromEntries(ways.map((way) => [way, {}])) }) as unknown as ZeroShotResult;
  assertEquals(topWay(2), "top-2");
  assertEquals(
    listWays([result("random", "oracle", "top-10", "mixture"), result("mixture", "dense", "top-2")]),
    ["mixture", "top-2", "top-10", "dense", "oracle", "random"],
  );
});

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

Deno.test("writeHarnessResults() writes a file per way, with metrics, errors, groups and samples as the harness names them", () =>
  inFolder(async (folder) => {
    await writeHarnessResults(folder, [ARC, MMLU], { run: "runs/a", limit: 3 });
    const read = async (way: string) => JSON.parse(await Deno.readTextFile(`${folder}/${way}/results.json`));
    const { results, groups, group_subtasks, ...rest } = await read("mixture");
    const acc = { "acc,none": 0.4, "acc_stderr,none": 0.04 };
    assertEquals(results, {
      arc_easy: {
        ...{ alias: "arc_easy", "acc,none": 0.5, "acc_stderr,none": 0.05 },
        ...{ "acc_norm,none": 0.75, "acc_norm_stderr,none": 0.075 },
      },
      mmlu: { alias: "mmlu", ...acc },
      mmlu_anatomy: { alias: "mmlu_anatomy", ...acc },
    });
    assertEquals(groups, { mmlu: { alias: "mmlu", ...acc } });
    assertEquals(group_subtasks, { arc_easy: [], mmlu: ["mmlu_anatomy"] });
    assertEquals(rest["n-shot"], { arc_easy: 2, mmlu: 2 });
    const effective = { arc_easy: { original: 30, effective: 3 }, mmlu: { original: 3, effective: 3 } };
    assertEquals(rest["n-samples"], effective);
    assertEquals(rest.higher_is_better, { arc_easy: { acc: true, acc_norm: true }, mmlu: { acc: true } });
    assertEquals([rest.model_name, rest.model_name_sanitized], ["runs/a mixture", "runs__a__mixture"]);
    assertEquals(Object.keys((await read("dense")).results), ["arc_easy"]);
    assertEquals([...Deno.readDirSync(folder)].map(({ name }) => name).sort(), ["dense", "mixture"]);
  }));

Deno.test("harnessResults() pools the standard errors of sets, as the harness does", () => {
  const of = (set: string, questions: number, value: number, standardError: number) => ({
    ...{ set, questions, differences: [] },
    ways: { mixture: { acc: { value, standardError } } },
  });
  const errorOf = (sets: ZeroShotResult["sets"]) => {
    const reported = harnessResults([{ ...MMLU, sets }], "mixture", { name: "a" });
    return [reported.results, reported.groups].map((of) =>
      (of as Record<string, Record<string, number>>).mmlu["acc_stderr,none"]
    );
  };
  const pooled = Math.sqrt((9 * 10 * 0.1 ** 2 + 29 * 30 * 0.05 ** 2) / (40 - 2) / 40);
  for (const error of errorOf([of("a", 10, 0.9, 0.1), of("b", 30, 0.2, 0.05)])) {
    assertAlmostEquals(error, pooled, 1e-12);
  }
  assertEquals(errorOf([of("a", 1, 1, 0), of("b", 1, 0, 0)]), [0, 0]);
});
