import { assert, assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { missingOf, planJobs, readJobPlan, settleJobs } from "../../../pipeline/stages/jobs.ts";
import { partition } from "../../../pipeline/stages/partition.ts";
import { exists, writeAtomic } from "../../../pipeline/run/files.ts";
import { worded } from "../../../tasks/wording.ts";
import { inFolder, smallCorpus } from "../../tasks/support.ts";
import { SMALL_SETTINGS } from "./support.ts";

const FLAGS = { ...SMALL_SETTINGS, partitioner: "random", method: "argmax", experts: 3 };

Deno.test("planJobs() plans a new run from text to report, each job after what it reads", () =>
  inFolder(async (folder) => {
    const run = `${folder}/run`;
    const jobs = await planJobs({ run, sources: { flags: FLAGS }, parts: 4, dense: ["batch", "steps"] });
    assertEquals(await exists(run), false);
    const named = new Map(jobs.map((job) => [job.name, job]));
    assertEquals([...named.keys()], [
      ...[
        "text",
        "tokenize",
        "exchange",
        "shuffle",
        "tokens",
        "routers",
        "score",
        "assign",
        "split",
        "partition",
      ],
      ...["train-expert", "evaluate-expert", "train-dense", "evaluate-dense", "train-dense-steps"],
      ...["evaluate-dense-steps", "evaluate"],
    ]);
    const seen = new Set<string>();
    for (const { name, after } of jobs) {
      for (const { job, each } of after) {
        assert(seen.has(job), `${name} stands on ${job}`);
        if (each) assertEquals(named.get(job)!.done.length, named.get(name)!.done.length);
      }
      seen.add(name);
    }
    assertEquals(jobs.map((job) => missingOf(job).length), [
      1,
      4,
      4,
      4,
      1,
      1,
      4,
      1,
      4,
      1,
      3,
      3,
      1,
      1,
      1,
      1,
      1,
    ]);
    const tasksOf = (name: string, unit: number) =>
      named.get(name)!.tasks(unit).map(({ task, with: w }) => [task, w.part ?? w.expert]);
    assertEquals(tasksOf("score", 2), [["score", "2/4"]]);
    for (const pass of ["tokenize", "exchange", "shuffle"]) {
      assertEquals(tasksOf(pass, 2), [["tokenize", "2/4"]]);
    }
    assertEquals(tasksOf("train-expert", 2), [["train-expert", 2]]);
    assertEquals(tasksOf("evaluate-expert", 3), [["evaluate", "3/7"]]); // three experts, four baselines
    assertEquals(named.get("evaluate-dense-steps")!.first, 5);
    const limited = await planJobs({ run, sources: { flags: { ...FLAGS, maxTokens: 500 } }, parts: 4 });
    assertEquals(limited[0].tasks(1).map(({ task }) => task), ["corpus", "tokenizer", "tokenize"]);
    const guarded = await planJobs({
      ...{ run, sources: { flags: FLAGS }, parts: 4, dense: ["switch"], training: { requireGpu: true } },
      zeroShot: { tasks: ["own"] },
    });
    for (const job of guarded) {
      for (const { task, with: w } of job.tasks(1)) {
        assertEquals(w.requireGpu ?? false, job.device && task !== "report", `${job.name}: ${task}`);
      }
    }
    const whole = await planJobs({ run, sources: { flags: FLAGS }, dense: [] });
    assertEquals(whole.map(({ name }) => name), ["partition", "train-expert", "evaluate-expert", "evaluate"]);
  }));

Deno.test("planJobs() leaves out what is made, and takes what stands on the rest again", () =>
  inFolder(async (folder) => {
    const run = `${folder}/run`;
    await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus());
    const flags = { ...FLAGS, input: [`${folder}/docs.jsonl`] };
    await settleJobs({ run, sources: { flags } }, { parts: 2, dense: ["batch"] });
    assertEquals(await readJobPlan(run), { parts: 2, dense: ["batch"] });
    await partition({ run });
    const missing = async () =>
      (await planJobs({ run, parts: 2 })).flatMap((job) => missingOf(job).length > 0 ? [job.name] : []);
    const models = ["train-expert", "evaluate-expert", "train-dense", "evaluate-dense", "evaluate"];
    assertEquals(await missing(), models);
    await Deno.remove(`${run}/manifests/assign.json`);
    assertEquals(await missing(), ["assign", "split", "partition", ...models]);
  }));

Deno.test("readJobPlan() refuses what would add lines to a script", () =>
  inFolder(async (run) => {
    for (const name of ["gres", "slurmPartition", "time"]) {
      const plan = { parts: 1, dense: [], slurm: { [name]: "1\ntouch x # " } };
      await writeAtomic(`${run}/jobs/plan.json`, JSON.stringify(plan));
      const error = await assertRejects(
        () => readJobPlan(run),
        InputError,
        `slurm.${name}: it must be one word without quotes, backslashes or #`,
      );
      assertEquals(
        worded(error.remedy!),
        `remove it, and run deno task submit --run ${run} with all its options again`,
      );
    }
  }));

Deno.test("planJobs() refuses a group of routers that could not run at once, and only where one is missing", () =>
  inFolder(async (folder) => {
    const run = `${folder}/run`;
    const limit = { option: "jobs", processes: 2 };
    const planned = (routerGroups: number, more = {}) =>
      planJobs({ run, sources: { flags: { ...SMALL_SETTINGS, experts: 3, ...more } }, routerGroups, limit });
    await assertRejects(
      () => planned(8),
      InputError,
      "all of its 3 processes must run at once: routerGroups is 8, jobs is 2",
    );
    assert((await planned(2)).some(({ name }) => name === "router-group"));
    assert((await planned(8, { experts: 2 })).some(({ name }) => name === "router-group")); // two are enough
    assert((await planned(8, { partitioner: "random" })).every(({ together }) => !together));

    await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus());
    await partition({ run, sources: { flags: { ...SMALL_SETTINGS, input: [`${folder}/docs.jsonl`] } } });
    const one = { option: "jobs", processes: 1 };
    const [group] = (await planJobs({ run, routerGroups: 2, limit: one })).filter(({ together }) => together);
    assertEquals(group.done, [true, true]);
  }));
