/**
 * What reads a finished run, on one that the engine has made: report, comparison, cost, generation
 * and serving.
 */

import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { basename } from "node:path";
import { InputError } from "../kernels/errors.ts";
import { compareRuns } from "../pipeline/report/mod.ts";
import { readCost } from "../pipeline/cost/mod.ts";
import { readManifest } from "../pipeline/graph/mod.ts";
import {
  evaluateRun,
  type PartitionPlan,
  planEvaluation,
  planModels,
  planOverlap,
  planQuestions,
} from "../pipeline/run/mod.ts";
import { trainModels } from "../pipeline/run/models.ts";
import { makePartition } from "../pipeline/run/run.ts";
import { allTargets, denseTarget } from "../pipeline/stages/targets.ts";
import { readRun } from "../pipeline/report/read.ts";
import { report } from "../pipeline/report/report.ts";
import { generate } from "../pipeline/serving/generate.ts";
import type { Configuration } from "../pipeline/settings/configuration.ts";
import { gpu } from "./kernels/support.ts";
import { serving } from "./pipeline/serving/server/support.ts";
import { smallSettings, writeTexts } from "./pipeline/run/support.ts";
import { copyFolder, inFolder } from "./tasks/support.ts";

const EXPERTS: Partial<Configuration> = {
  expertHidden: 8,
  expertLayers: 1,
  expertHeads: 1,
  expertSteps: 12,
  expertBatch: 4,
};
const MODELS = ["expert-00", "expert-01", "dense", "dense-steps"];

/** Changes one byte in the middle of a file while `test` runs. */
async function damaged(path: string, test: () => Promise<unknown>): Promise<void> {
  const bytes = await Deno.readFile(path);
  await Deno.writeFile(path, bytes.with(bytes.length >> 1, bytes[bytes.length >> 1] ^ 1));
  await test();
  await Deno.writeFile(path, bytes);
}

/** Lists what a plan would make, each with an estimate. */
async function rowsOf(planned: Promise<PartitionPlan>): Promise<string[]> {
  const { stages } = await planned;
  return stages.map(({ stage, action, seconds, diskBytes }) => {
    assertEquals([seconds > 0, diskBytes > 0], [action === "would run", action === "would run"]);
    return `${stage} ${action}`;
  });
}

Deno.test("a finished run is reported, compared, priced and served, and a flipped bit is refused", () =>
  inFolder(async (folder) => {
    const run = `${folder}/run`;
    const other = `${folder}/other`;
    await writeTexts(`${folder}/text`, 12);
    const flags = smallSettings(`${folder}/text`, { ...EXPERTS, holdout: 0.3 });
    await makePartition({ run, sources: { flags }, gpu });
    const some = await report({ run, gpu });
    assert(some.missing.some(({ part }) => part === "Training of the experts"));
    const planDense = () => planModels(() => [denseTarget("batch")], { run });
    assertEquals(await rowsOf(planDense()), ["train-dense would run"]);
    await trainModels(
      (settings) => allTargets(settings).filter(({ name }) => MODELS.includes(name)),
      {
        run,
        gpu,
      },
    );
    assertEquals(await rowsOf(planDense()), ["train-dense up to date"]);
    assertEquals(await rowsOf(planEvaluation({ run })), ["evaluate would run"]);
    const tasks = ["last_word", "shuffled_words"];
    assertEquals(
      await rowsOf(planQuestions({ run, tasks })),
      tasks.map((name) => `zero-shot-${name} would run`),
    );
    assertEquals(await rowsOf(planOverlap({ run })), ["overlap would run"]);
    await evaluateRun({ run, gpu, resamples: 50 });
    const scored = async () => (await readManifest(`${run}/evaluation/dense`))!.made;
    const before = await scored();
    assertEquals(await rowsOf(planEvaluation({ run, resamples: 50 })), ["evaluate up to date"]);
    const evaluation = await evaluateRun({ run, gpu });
    assertEquals(await scored(), before); // other draws alone let no model score again
    copyFolder(run, other);

    const { missing, outOfDate, output } = await report({ run, gpu });
    assertEquals([missing, outOfDate], [[], []]);
    const page = await Deno.readTextFile(output);
    for (const id of ["em-nll", "training-loss-by-tokens", "perplexity", "shares"]) {
      assertStringIncludes(page, `id="plot-${id}"`);
    }
    assertStringIncludes(page, "<dt>writes</dt>");
    const record = await readRun(run);
    const { train, parts } = record.partition!;
    assertEquals(train.sequences, parts.reduce((sum, part) => sum + part.train.sequences, 0));
    assertEquals(record.text!.testSequences, evaluation.sequences);
    assertEquals(record.heldOut!.evaluated, true);
    assertEquals(record.weights, [0, 1]);
    const { corpus } = await readCost({ run, flops: 1e9, utilisation: 1 });
    assertEquals(corpus, { train: train.sequences, test: evaluation.sequences });
    const compared = await compareRuns({ runs: [run, other] });
    assertEquals(compared.runs.map(({ lacks, evaluation }) => [lacks, evaluation !== null]), [
      [[], true],
      [[], true],
    ]);

    const only = `${folder}/only`; // what serving needs alone
    await Deno.mkdir(`${only}/experts`, { recursive: true });
    for (const name of ["config.json", "tokenizer.json"]) {
      await Deno.copyFile(`${run}/${name}`, `${only}/${name}`);
    }
    copyFolder(`${run}/partitioner`, `${only}/partitioner`);
    copyFolder(`${run}/experts/expert-01`, `${only}/experts/expert-01`);
    const asked = { prompt: "river stone", expert: 1, maxNewTokens: 6, seed: 1, gpu };
    const generateText = async (of: { run?: string; model?: string }) =>
      (await Array.fromAsync(await generate({ ...asked, ...of }))).join("");
    assertEquals(await generateText({ run: only }), await generateText({ run }));
    await serving(only, ["--serve-experts", "1"], async ({ client, url }) => {
      const { choices } = await client.completions.create({
        model: "expert-01",
        prompt: asked.prompt,
        max_tokens: 6,
        seed: 1,
      });
      assertEquals(choices[0].text, await generateText({ run }));
      const { data } = await (await fetch(`${url}/v1/models`)).json();
      assert(data.every(({ words }: { words?: unknown }) => !words));
    });

    const words = (await readManifest(`${run}/partition/names`))!.result.words;
    await serving(run, [], async ({ url }) => {
      const { data } = await (await fetch(`${url}/v1/models`)).json();
      assertEquals(
        data.flatMap((model: { words?: string[] }) => model.words ? [model.words] : []),
        words,
      );
    });

    for (
      const path of [
        "evaluation/result/evaluation.json",
        "experts/expert-01/metrics.jsonl",
        "partition/names/names.json",
        "partition/expert-01/manifest.json",
      ]
    ) {
      await damaged(
        `${run}/${path}`,
        () => assertRejects(() => report({ run, gpu }), InputError, basename(path)),
      );
    }
  }));
