import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { RunError } from "../../mod.ts";
import type { Job } from "../../pipeline/run/mod.ts";
import { task as taskOf } from "../../kernels/mod.ts";
import { exists } from "../../pipeline/graph/files.ts";
import { checkFinished, runJobs } from "../../tasks/slurm/local_jobs.ts";
import { endedJobs } from "../../tasks/slurm/queue.ts";
import { until } from "../slurm.ts";
import {
  inFolder,
  ok,
  ROOT,
  SMALL,
  smallCorpus,
  task,
  taskHere,
  trainingFlags,
  whatIsMade,
} from "./support.ts";

/** A job whose processes succeed where the name of their task is there, and fail elsewhere. */
const job = (name: string, names: string[], after: Job["after"] = []): Job => ({
  name,
  about: "",
  first: 0,
  done: names.map((name) => name === "done"),
  task: (unit) => taskOf(names[Number(unit)], names[Number(unit)] === "cost" ? { json: true } : {}),
  after,
  device: false,
});

Deno.test("runJobs() runs what stands on what succeeded, side by side, and nothing that stands on a failure", () =>
  inFolder(async (run) => {
    const jobs = [
      job("first", ["cost", "no-such-task", "done"]),
      job("other", ["cost", "done"]),
      job("each", ["cost", "cost"], ["other"]),
      job("all", ["cost"], ["first", "other"]),
    ];
    const reported: string[] = [];
    const { task } = jobs[0];
    const locked: boolean[] = []; // whether logs are locked while their processes run
    jobs[0].task = (unit) => {
      const folder = `${run}/jobs/logs`;
      const log = Deno.readDirSync(folder).find(({ name }) => name.endsWith(`_${unit}.log`))!;
      using file = Deno.openSync(`${folder}/${log.name}`);
      locked.push(!file.tryLockSync(false));
      return task(unit);
    };
    const options = {
      atOnce: 2,
      tell: (text: string) => reported.push(text),
      signal: new AbortController().signal,
    };
    const here = Deno.cwd();
    Deno.chdir(ROOT);
    const finished = await runJobs(run, jobs, options).finally(() => Deno.chdir(here));
    assertEquals(locked, [true, true]);
    const { ended } = await endedJobs(run, jobs.slice(0, 1), []);
    assertEquals(ended.map(({ place }) => place), [0, 1]);
    const codes = Object.fromEntries(
      finished.map(({ job, place, code }) => [`${job} ${place}`, code]),
    );
    assertEquals(codes, {
      "first 0": 0,
      "first 1": 1,
      "other 0": 0,
      "each 0": 0,
      "each 1": 0,
      "all 0": null,
    });
    const error = await assertRejects(
      () => Promise.try(() => checkFinished(run, finished)),
      RunError,
    );
    assertStringIncludes(
      error.message,
      "first at place 1 with exit code 1 failed, and 1 that stand on them did not run",
    );
    checkFinished(run, finished.filter(({ code }) => code === 0));
  }));

Deno.test("runJobs() ends all processes before it throws where a log cannot be written", () =>
  inFolder(async (folder) => {
    const scripts = {
      full: `while (!Deno.readDirSync(".").some(({ name }) => name === "began")) {
  await new Promise((done) => setTimeout(done, 20));
}
console.log("what does not fit the disk");
`,
      long: `Deno.addSignalListener("SIGTERM", () => {
  Deno.writeTextFileSync("ended", "");
  Deno.exit(130);
});
Deno.writeTextFileSync("began", "");
setTimeout(() => {}, 30_000);
`,
    };
    const tasks: Record<string, string> = {};
    for (const [name, text] of Object.entries(scripts)) {
      await Deno.writeTextFile(`${folder}/${name}.ts`, text);
      tasks[name] = `deno run --allow-read --allow-write ${name}.ts`;
    }
    await Deno.writeTextFile(`${folder}/deno.json`, JSON.stringify({ tasks }));
    const { openSync } = Deno;
    Deno.openSync = (path, options) => {
      const file = openSync(path, options);
      const write = file.write.bind(file);
      return Object.assign(file, {
        write: (bytes: Uint8Array) =>
          new TextDecoder().decode(bytes).startsWith("what does not fit")
            ? Promise.reject(new Error("No space left on device"))
            : write(bytes),
      });
    };
    const here = Deno.cwd();
    Deno.chdir(folder);
    try {
      const options = { atOnce: 2, tell: () => {}, signal: new AbortController().signal };
      await assertRejects(
        () => runJobs(folder, [job("full", ["full"]), job("long", ["long"])], options),
        Error,
        "No space left on device",
      );
      assert(await exists(`${folder}/ended`));
    } finally {
      Deno.chdir(here);
      Deno.openSync = openSync;
    }
  }));

Deno.test("runJobs() begins a process again that the system ends while its checkpoint moves, and not after three ends at the same one", () =>
  inFolder(async (folder) => {
    const scripts = {
      moves: `Deno.writeTextFileSync("attempts", "x", { append: true });
const attempt = Deno.statSync("attempts").size;
const states = "scratch/dense~0123456789abcdef";
Deno.mkdirSync(states, { recursive: true });
if (attempt > 1) Deno.writeTextFileSync(\`\${states}/step-0000000\${attempt}.safetensors\`, "");
console.log(\`attempt \${attempt}\`);
if (attempt < 4) Deno.kill(Deno.pid, "SIGKILL");
`,
      stays: `Deno.kill(Deno.pid, "SIGABRT");\n`,
      loses: `Deno.writeTextFileSync("losses", "x", { append: true });
if (Deno.statSync("losses").size > 1) Deno.exit(0);
console.error("\\nDeno has panicked. This is a bug in Deno.\\n" + "stack\\n".repeat(100));
Deno.exit(1);
`,
    };
    const tasks: Record<string, string> = {};
    for (const [name, text] of Object.entries(scripts)) {
      await Deno.writeTextFile(`${folder}/${name}.ts`, text);
      tasks[name] = `deno run --allow-all ${name}.ts`;
    }
    await Deno.writeTextFile(`${folder}/deno.json`, JSON.stringify({ tasks }));
    const reported: string[] = [];
    const here = Deno.cwd();
    Deno.chdir(folder);
    const jobs = [
      { ...job("moves", ["moves"]), trains: ["dense"] },
      job("stays", ["stays"]),
      job("loses", ["loses"]),
    ];
    const options = {
      atOnce: 1,
      tell: (text: string) => void reported.push(text),
      signal: new AbortController().signal,
    };
    const finished = await runJobs(folder, jobs, options).finally(() => Deno.chdir(here));
    assertEquals(finished.map(({ job, code }) => [job, code]), [
      ["moves", 0],
      ["stays", 134],
      ["loses", 0],
    ]);
    const killed = "moves ended with exit code 137 (killed, as where memory runs out) at";
    const aborted =
      "stays ended with exit code 134 (aborted, as by a driver that lost its device) at";
    assertEquals(reported, [
      "moves starts",
      `${killed} no checkpoint: goes on`,
      `${killed} step-00000002.safetensors: goes on`,
      `${killed} step-00000003.safetensors: goes on`,
      "moves is done",
      "stays starts",
      `${aborted} no checkpoint: goes on`,
      `${aborted} no checkpoint: goes on`,
      "stays failed with 134",
      "loses starts",
      "loses ended with exit code 1 (its device was lost) at no checkpoint: goes on",
      "loses is done",
    ]);
    const { ended } = await endedJobs(folder, [job("stays", ["stays"])], null);
    const [{ code, line }] = ended;
    assertEquals(code, 134);
    assertStringIncludes(
      line,
      "error: Cannot go on as an attempt must gain a step: three ended at no",
    );
  }));

Deno.test("the processes of runJobs() end with the process that runs them, killed as it may be", () =>
  inFolder(async (folder) => {
    const long = `Deno.addSignalListener("SIGTERM", () => {
  console.log("nobody reads this");
  Deno.writeTextFileSync("ended", "");
  Deno.exit(130);
});
Deno.writeTextFileSync("began", "");
setTimeout(() => {}, 30_000);
`;
    const runs = `import { runJobs } from "${ROOT}tasks/slurm/local_jobs.ts";
const job = (name) => ({ name, done: [false], task: () => ({ task: name, with: {} }), after: [] });
const { signal } = new AbortController();
await runJobs(".", [job("long"), job("other")], { atOnce: 2, tell() {}, signal });
`;
    await Deno.writeTextFile(`${folder}/long.ts`, long);
    await Deno.writeTextFile(`${folder}/runs.js`, runs);
    const tasks = { long: "deno run -A long.ts", other: "sleep 1" };
    await Deno.writeTextFile(`${folder}/deno.json`, JSON.stringify({ tasks }));
    const args = ["run", "-A", `--config=${ROOT}deno.json`, "runs.js"];
    const parent = new Deno.Command(Deno.execPath(), { args, cwd: folder, env: { NO_COLOR: "1" } })
      .spawn();
    await until("its child", () => exists(`${folder}/began`), 60);
    parent.kill("SIGKILL");
    await parent.status;
    await until("the end of its child", () => exists(`${folder}/ended`), 30);
  }));

Deno.test("deno task submit --executor local makes what one process after another makes", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus());
    await Deno.mkdir(`${folder}/data`);
    const question = { goal: "sail the", sol1: "ship", sol2: "const", label: 0 };
    await Deno.writeTextFile(
      `${folder}/data/piqa.jsonl`,
      `${JSON.stringify(question)}\n`.repeat(3),
    );
    const own = ["--holdout", "0.3", "--block-bytes", "8192", "--dedup", "exact"];
    const partition = ["--input", `${folder}/docs.jsonl`, ...SMALL, ...own];
    const training = trainingFlags(6);
    const checkpoints = ["--checkpoint-every", "2", "--keep", "3"];
    const whole = ["--run", `${folder}/whole`];
    const zeroShot = ["zero-shot", "--task", "piqa", "--data", `${folder}/data`];
    for (
      const [name, ...args] of [
        ["partition", ...partition],
        ["train-expert", "--expert", "all", ...training, ...checkpoints],
        ["evaluate"],
        zeroShot,
      ]
    ) {
      await ok(taskHere(name, [...whole, ...args]));
    }
    const questions = ["--zero-shot", "piqa", "--zero-shot-data", `${folder}/data`];
    const models = ["--dense", "none", ...questions, ...checkpoints];
    const flags = [
      "--executor",
      "local",
      "--jobs",
      "2",
      "--parts",
      "2",
      "--router-groups",
      "2",
      ...models,
    ];
    const run = `${folder}/local`;
    const local = ["--run", run, ...flags, ...partition, ...training];
    await ok(task("submit", local));
    const made = await whatIsMade(run);
    assertEquals(made, await whatIsMade(`${folder}/whole`));
    assert(await exists(`${run}/report.html`));
    const known = ["--run", run, "--executor", "local", "--jobs", "2"]; // as before
    const again = await taskHere("submit", known);
    assertStringIncludes(again.out, "0 processes have run, nothing is missing");
    assertEquals(await whatIsMade(run), made);

    // An evaluation stays as it was asked.
    await ok(taskHere("evaluate", ["--run", run, "--resamples", "50"]));
    const asked = await taskHere("submit", [...known, "--dry-run"]);
    assertStringIncludes(asked.out, `${run}: nothing is missing`);

    // A model that is evaluated is not evaluated again where another one's evaluation is missing.
    for (const gone of ["result", "expert-01"]) {
      await Deno.remove(`${run}/evaluation/${gone}`, { recursive: true });
    }
    const planned = await taskHere("submit", [...known, "--dry-run"]);
    assertEquals(planned.out.match(/^\S+: \d+ process.*$/gm), [
      "evaluate-models: 1 process",
      "evaluate: 1 process, after evaluate-models",
      "report: 1 process, after evaluate",
    ]);

    // What submit is reported is what its jobs do, once.
    const changed = [...known, "--expert-steps", "4"];
    const forced = await ok(task("submit", [...changed, "--force"]));
    assertMatch(forced.err, /train-expert 1 is done/);
    assertEquals(/tokenize|train-routers/.test(forced.err), false, forced.err);
  }));
