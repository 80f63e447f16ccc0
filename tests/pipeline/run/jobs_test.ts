import { assert, assertEquals, assertRejects } from "@std/assert";
import { InputError, RunError } from "../../../kernels/errors.ts";
import { takeLock } from "../../../pipeline/graph/mod.ts";
import {
  listMissing,
  lockJobs,
  makePartition,
  nameUnit,
  planJobs,
  readJobPlan,
  readStatus,
  writeJobSettings,
} from "../../../pipeline/run/mod.ts";
import { readManifest, writeManifest } from "../../../pipeline/graph/node.ts";
import { readRunConfiguration } from "../../../pipeline/graph/configuration.ts";
import { exists, writeAtomic } from "../../../pipeline/graph/files.ts";
import { until } from "../../slurm.ts";
import { inFolder } from "../../tasks/support.ts";
import { smallSettings, writeTexts } from "./support.ts";

/** Settings of a run of texts in a folder, split at random; and what is to be said of it. */
async function settings(folder: string) {
  await writeTexts(`${folder}/text`, 6);
  const flags = smallSettings(`${folder}/text`, {
    partitioner: "random",
    method: "argmax",
    experts: 3,
  });
  return { run: `${folder}/run`, sources: { flags } };
}

const signal = new AbortController().signal;

Deno.test("planJobs() plans a new run from text to report, each job after what it reads", () =>
  inFolder(async (folder) => {
    const reported = await settings(folder);
    const zeroShot = { tasks: ["last_word"] };
    const jobs = await planJobs({ ...reported, parts: 4, dense: ["steps", "batch"], zeroShot });
    assertEquals(await exists(reported.run), false);
    assertEquals(jobs.map((job) => [job.name, listMissing(job).length]), [
      ...[["tokenizer", 1], ["tokenize", 4], ["tokens", 1], ["train-routers", 1], ["score", 4]],
      ...[["assign", 1], ["split", 3]], // there are no more groups of blocks
      ...[["partition", 1], ["train-expert", 3], ["train-dense", 1], ["train-dense-steps", 1]],
      ...[["evaluate-models", 5], ["evaluate", 1], ["zero-shot", 1], ["report", 1]],
    ]);
    const named = new Map(jobs.map((job) => [job.name, job]));
    const seen = new Set<string>();
    for (const { name, after } of jobs) {
      for (const other of after) assert(seen.has(other), `${name} stands on ${other}`);
      seen.add(name);
    }
    assertEquals(named.get("train-dense")!.after, ["tokens"]);
    assertEquals(named.get("evaluate-models")!.after, [
      "train-expert",
      "train-dense",
      "train-dense-steps",
    ]);
    const taskOf = (name: string, place: number) => {
      const job = named.get(name)!;
      const { task, with: { run: _run, ...more } } = job.task(nameUnit(job, place));
      return [task, more];
    };
    assertEquals(taskOf("score", 1), ["score", { part: "2/4" }]);
    assertEquals(taskOf("train-routers", 0), ["train-routers", { part: undefined }]);
    assertEquals(taskOf("train-expert", 2), ["train-expert", { expert: 2 }]);
    assertEquals(named.get("evaluate-models")!.done, [
      false,
      false,
      false,
      false,
      false,
      true,
      true,
    ]); // of seven that there may be
    assertEquals(taskOf("evaluate-models", 4), ["evaluate", { part: "5/7" }]);
    assertEquals(taskOf("zero-shot", 0), ["zero-shot", { task: "last_word", data: undefined }]);
    const whole = await planJobs({ ...reported, dense: [] });
    const all = ["partition", "train-expert", "evaluate-models", "evaluate", "report"];
    assertEquals(whole.map(({ name }) => name), all);
    const em = {
      ...reported,
      sources: { flags: { ...reported.sources.flags, partitioner: "em" } },
    };
    const groups = (await planJobs({ ...em, routerGroups: 8 })).find(({ name }) =>
      name === "train-routers"
    )!;
    assertEquals(groups.done.length, 3); // a part of the routers each, and there are no more
    for (const job of await planJobs({ ...reported, parts: 2, training: { requireGpu: true } })) {
      assertEquals(job.task(1).with.requireGpu ?? false, job.device, job.name);
    }
  }));

Deno.test("planJobs() knows nothing of what comes of text that is to be unpacked, and plans that first", () =>
  inFolder(async (folder) => {
    const { run, sources: { flags } } = await settings(folder);
    // Too large for a block, packed too.
    const words = crypto.getRandomValues(new Uint8Array(3000)).toHex();
    const text = new Blob([JSON.stringify({ text: words })]).stream();
    await Deno.writeFile(`${folder}/a.jsonl.gz`, text.pipeThrough(new CompressionStream("gzip")));
    const jobs = await planJobs({
      run,
      sources: { flags: { ...flags, input: [`${folder}/a.jsonl.gz`] } },
      parts: 2,
    });
    assertEquals(jobs.slice(0, 3).map((job) => [job.name, job.done]), [
      ["corpus", [false, false]], // one has nothing to do: there is one file
      ["tokenizer", [false]],
      ["tokenize", [false, false]],
    ]);
    assertEquals(jobs.slice(1).flatMap(({ done }) => done).includes(true), false);
  }));

Deno.test("planJobs() leaves out what is made, and takes what stands on the rest again", () =>
  inFolder(async (folder) => {
    const reported = await settings(folder);
    const { run } = reported;
    await writeJobSettings(reported, { parts: 2, dense: ["batch"] });
    assertEquals(await readJobPlan(run), { parts: 2, dense: ["batch"] });
    await makePartition({ run });
    const missing = async () =>
      (await planJobs({ run, parts: 2 })).flatMap((job) =>
        listMissing(job).length > 0 ? [job.name] : []
      );
    const models = ["train-expert", "train-dense", "evaluate-models", "evaluate", "report"];
    assertEquals(await missing(), models);
    await Deno.remove(`${run}/assignments`, { recursive: true });
    assertEquals(await missing(), ["assign", "split", "partition", ...models]);
    await makePartition({ run });
    // Of tokens only one block's: a process of its part makes it.
    const [block] = Array.from(Deno.readDirSync(`${run}/tokens`));
    await Deno.remove(`${run}/tokens/${block.name}`, { recursive: true });
    const due = (await planJobs({ run, parts: 50 })).filter(({ name }) => /^toke/.test(name));
    assertEquals(due.map((job) => listMissing(job).length), [0, 1, 1]); // the tokenizer, the block's part, and what needs all
  }));

Deno.test("writeJobSettings() with force writes settings that jobs find agreed, and not while somebody works by others", () =>
  inFolder(async (folder) => {
    const reported = await settings(folder);
    const { run } = reported;
    const plan = { parts: 1, dense: [] };
    await writeJobSettings(reported, plan);
    await makePartition({ run });
    // One is begun.
    await Deno.mkdir(`${run}/scratch/experts~expert-00~0123456789abcdef`, { recursive: true });
    const changed = { run, sources: { flags: { expertSteps: 7 } } };
    await assertRejects(
      () => planJobs(changed),
      InputError,
      "expertSteps must be what its config.json has",
    );
    const lock = await takeLock(run, "experts/expert-01", "train");
    assert("release" in lock);
    const refused = "as nobody else may work in it meanwhile: process";
    await assertRejects(() => planJobs({ ...changed, force: true }), RunError, refused);
    await assertRejects(() => makePartition({ run, force: true }), RunError, refused);
    lock.release();
    await writeJobSettings({ ...changed, force: true }, plan);
    assertEquals((await readRunConfiguration(run))!.configuration.expertSteps, 7);
    const jobs = await planJobs({ ...changed, ...plan }); // without force, as a job does
    assertEquals(jobs.filter((job) => listMissing(job).length > 0).map(({ name }) => name), [
      ...["train-expert", "evaluate-models", "evaluate", "report"],
    ]);
  }));

Deno.test("writeJobSettings() with force lets jobs make again what another version made, and leaves the user's files in it", () =>
  inFolder(async (folder) => {
    const reported = await settings(folder);
    const { run } = reported;
    const plan = { parts: 1, dense: [] };
    await writeJobSettings(reported, plan);
    await makePartition({ run });
    const node = `${run}/assignments/all`;
    const { made: _, ...manifest } = (await readManifest(node))!;
    await writeManifest(node, { ...manifest, revision: 99, key: "of it" });
    await Deno.writeTextFile(`${node}/mine.txt`, "mine");
    await assertRejects(
      () => planJobs({ run, ...plan }),
      InputError,
      "one version must make all of it",
    );
    await Deno.rename(`${run}/assignments`, `${folder}/other`);
    await Deno.symlink(`${folder}/other`, `${run}/assignments`);
    await assertRejects(
      () => writeJobSettings({ run, force: true }, plan),
      InputError,
      "symbolic link",
    );
    await Deno.remove(`${run}/assignments`).then(() =>
      Deno.rename(`${folder}/other`, `${run}/assignments`)
    );
    await writeJobSettings({ run, force: true }, plan);
    const jobs = await planJobs({ run, ...plan });
    const given = (await readStatus(run)).stages.find(({ stage }) => stage === "assign")!;
    assertEquals([given.state, given.because], ["out of date", "another version made it"]);
    assertEquals(jobs.find((job) => listMissing(job).length > 0)?.name, "partition");
    await makePartition({ run });
    assertEquals((await readManifest(node))!.key, manifest.key);
    assertEquals(await Deno.readTextFile(`${node}/mine.txt`), "mine");
  }));

Deno.test("lockJobs() lets one process at a time run the jobs of a run, and reports whom it waits for", () =>
  inFolder(async (run) => {
    const reported: string[] = [];
    const tell = (text: string) => void reported.push(text);
    const first = await lockJobs(run, { signal, tell });
    const rule = "as only one process may do so at a time: process";
    await assertRejects(() => lockJobs(run, { signal, tell, patience: 1 }), RunError, rule);
    const second = lockJobs(run, { signal, tell });
    await until("its waiting", () => Promise.resolve(reported.length === 2), 10);
    first.release();
    (await second).release();
    assertEquals(reported[0].startsWith(`waits for process ${Deno.pid}`), true);
  }));

Deno.test("readJobPlan() refuses what would add lines to a script", () =>
  inFolder(async (run) => {
    for (const name of ["gres", "slurmPartition", "time"]) {
      const plan = { parts: 1, dense: [], slurm: { [name]: "1\ntouch x # " } };
      await writeAtomic(`${run}/jobs/plan.json`, JSON.stringify(plan));
      const rule = `slurm.${name}: it must be one word without quotes, backslashes or #`;
      await assertRejects(() => readJobPlan(run), InputError, rule);
    }
  }));
