import { assert, assertEquals, assertMatch } from "@std/assert";
import { partition, planPartition, readStatus, STAGES, verifyRun } from "../mod.ts";
import type { Configuration } from "../pipeline/settings/configuration.ts";
import { report } from "../pipeline/report/report.ts";
import { cleanRun } from "../pipeline/run/clean.ts";
import { planJobs } from "../pipeline/run/jobs.ts";
import { requestGraph } from "../pipeline/run/plan.ts";
import { needConfiguration } from "../pipeline/stages/parts.ts";
import { inFolder, ROOT } from "./tasks/support.ts";

const FLAGS: Partial<Configuration> = {
  partitioner: "random",
  experts: 2,
  corpusCharacters: 20_000,
  vocabularySize: 300,
  sequenceLength: 32,
  prefix: 16,
};

Deno.test("every stage lists its nodes and estimates what they take; one of a script, in 40 lines, has all that ours have", async () => {
  const text = await Deno.readTextFile(`${ROOT}tests/toy_stage.ts`);
  assert(text.split("\n").length <= 41);
  const imported = [...text.matchAll(/from "(.*)"/g)].map(([, path]) => path);
  assertEquals(imported, ["../mod.ts"]);
  const { SECONDS } = await import("./toy_stage.ts");
  try {
    await inFolder(async (folder) => {
      const run = `${folder}/run`;
      const options = { run, sources: { flags: FLAGS } };
      const planned = async () => {
        const { stages } = await planPartition(options);
        return stages.find(({ stage }) => stage === "toy")!;
      };
      await partition(options);
      await Deno.remove(`${run}/toy/1`, { recursive: true });
      const { action, nodes, toMake, seconds, diskBytes, memoryBytes } = await planned();
      assertEquals([action, nodes, toMake, seconds, diskBytes], ["would run", 2, 1, SECONDS, 10]);
      assert(memoryBytes > 5e6);
      const stands = async () =>
        (await readStatus(run)).stages.find(({ stage }) => stage === "toy")!;
      const { state, about, because } = await stands();
      assertEquals([state, because], ["missing", "1 of 2 are made"]);
      assertEquals(about, STAGES.get("toy")!.about);
      const jobs = await planJobs({ run, parts: 2 });
      const { done, task, after } = jobs.find(({ name }) => name === "toy")!;
      assertEquals([done, after], [[true, false], ["split"]]);
      assertEquals(task(2), { task: "toy", with: { run, part: "2/2" } });
      const { stages } = await partition(options);
      assertEquals(stages.filter(({ state }) => state === "run").map(({ stage }) => stage), [
        "toy",
      ]);
      assertEquals([(await stands()).state, (await planned()).action], [
        "up to date",
        "up to date",
      ]);
      await Deno.writeTextFile(`${run}/toy/0/sequences.txt`, "x");
      assertEquals((await verifyRun(run)).problems.map(({ file }) => file), [
        "toy/0/sequences.txt",
      ]);
      const { outOfDate, output } = await report({ run });
      assertMatch(await Deno.readTextFile(output), /<td>toy<\/td>/);
      assertEquals(outOfDate.map(({ part }) => part), ["toy"]);
      await Deno.mkdir(`${run}/scratch/toy~0~0123456789abcdef`, { recursive: true });
      await Deno.writeTextFile(
        `${run}/scratch/toy~0~0123456789abcdef/step-00000001.metrics.jsonl`,
        "",
      );
      assertEquals((await cleanRun({ run, dryRun: true })).unfinished.files, 1);
      await estimates(run);
    });
  } finally {
    STAGES.delete("toy");
  }
});

/** Asks every stage of the table for its nodes and its estimate, for all that a run is to have. */
async function estimates(run: string): Promise<void> {
  const configuration = await needConfiguration(run);
  const graph = requestGraph(run, configuration, true);
  const size = { characters: 20_000, sequences: 200, flops: 1e9 };
  for (const [name, stage] of STAGES) {
    assertEquals([typeof stage.nodes, typeof stage.estimate], ["function", "function"], name);
    for (const request of await stage.requests?.(graph) ?? [{}]) {
      if (stage.onRequest) assert((await stage.nodes(graph, request)).length > 0, name);
      const estimate = await stage.estimate({ run, configuration, ...size }, request);
      assertEquals(Object.keys(estimate).sort(), ["diskBytes", "memoryBytes", "seconds"], name);
      assert(Object.values(estimate).every((value) => value >= 0 && value < 1e15), name);
    }
  }
}
