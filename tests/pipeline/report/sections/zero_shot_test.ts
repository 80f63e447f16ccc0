import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { InputError, wordText } from "../../../../kernels/errors.ts";
import type { ZeroShotResult } from "../../../../pipeline/evaluation/choices/results.ts";
import { markup } from "../../../../pipeline/report/html.ts";
import { readRun } from "../../../../pipeline/report/read.ts";
import { zeroShot } from "../../../../pipeline/report/sections/zero_shot.ts";
import { inFolder } from "../../../tasks/support.ts";
import { writeNode, writeRun } from "../support.ts";

const measure = (value: number) => ({ value, low: value - 0.125, high: value + 0.125, standardError: 0.06 });

/** What a task came to, the mixture ahead of the dense model by so much. */
function resultOf(task: string, ahead: number, more: Partial<ZeroShotResult> = {}): ZeroShotResult {
  return {
    ...{ format: 1, task, questions: 200, published: 200, fewShot: 0, routing: "context", prefix: 64 },
    ...{
      experts: 4,
      cut: 0,
      chance: 0.25,
      resamples: 1000,
      seed: 0,
      shares: [0.25, 0.25, 0.25, 0.25],
      sets: [],
    },
    ways: {
      mixture: { acc: measure(0.5) },
      dense: { acc: measure(0.5 - ahead) },
      "top-2": { acc: measure(0.625) },
    },
    differences: [{ baseline: "dense", metric: "acc", value: ahead, low: ahead - 0.1, high: ahead + 0.1 }],
    ...more,
  } as ZeroShotResult;
}

Deno.test("the section of zero-shot tasks tells what every task came to, and against each dense model; none where none was asked", () =>
  inFolder(async (run) => {
    await writeRun(run);
    assertEquals(zeroShot.when!(await readRun(run)), false);
    const perplexity = {
      ways: { mixture: { acc: measure(0.25), perplexity: { ...measure(80), low: 70, high: 90 } } },
    };
    const results = [
      resultOf("shuffled_words", 0.25),
      resultOf("piqa", 0.05),
      resultOf("lambada_openai", 0, { ...perplexity, chance: null, differences: [] }),
    ];
    for (const result of results) {
      const files = { [`${result.task}.json`]: JSON.stringify(result) };
      await writeNode(run, `zero-shot/${result.task}`, { files });
    }
    await Deno.writeTextFile(`${run}/zero-shot/notes.json`, "of the user");
    const record = await readRun(run);
    assertEquals(record.zeroShot.map(({ task }) => task), ["shuffled_words", "piqa", "lambada_openai"]);
    const page = markup`${zeroShot.text(record)}`.text.replaceAll("\n", " ");
    assertStringIncludes(page, "3 tasks of questions");
    assertStringIncludes(
      page,
      "Against dense, 4× batch the mixture is better on 1, equal within the interval on 1 and worse on 0.",
    );
    const cells = [...page.matchAll(/<t[dh](?: [^>]*)?>([^<]*)/g)].map(([, text]) => text);
    assertEquals(cells, [
      ...["task", "questions", "guessing", "answered by", "right", "perplexity"],
      ...["shuffled_words", "200", "25.0%", "mixture", "50.0% (37.5% to 62.5%)", ""],
      ...["", "", "", "2 experts together", "62.5% (50.0% to 75.0%)", ""],
      ...["", "", "", "dense, 4× batch", "25.0% (12.5% to 37.5%)", ""],
      ...["piqa", "200", "25.0%", "mixture", "50.0% (37.5% to 62.5%)", ""],
      ...["", "", "", "2 experts together", "62.5% (50.0% to 75.0%)", ""],
      ...["", "", "", "dense, 4× batch", "45.0% (32.5% to 57.5%)", ""],
      ...["lambada_openai", "200", "", "mixture", "25.0% (12.5% to 37.5%)", "80.00 (70.00 to 90.00)"],
    ]);

    await writeNode(run, "zero-shot/piqa", { files: { "piqa.json": '{"format": 1}' } });
    const error = await assertRejects(() => readRun(run), InputError);
    assertEquals(
      [error.where, wordText(error.remedy!)],
      [`${run}/zero-shot/piqa/piqa.json`, `run task "zero-shot" with run "${run}", task "piqa", check`],
    );
  }));
