import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { task as taskOf } from "../../kernels/mod.ts";
import { exists } from "../../pipeline/graph/files.ts";
import { type Job } from "../../pipeline/run/mod.ts";
import { type Queued, type SlurmOptions, submitScript } from "../../tasks/slurm/batch.ts";
import { endedJobs, queueText } from "../../tasks/slurm/queue.ts";
import { execute, inFolder, ok, refused, smallCorpus, task } from "./support.ts";

const job = (name: string, done: boolean[], after: Job["after"] = []): Job => ({
  name,
  about: `Makes ${name}.`,
  first: 0,
  done,
  task: (unit) => taskOf("train-expert", { run: "r", expert: unit }),
  after,
  device: true,
});
const queued = (job: string, place: number, id: string): Queued => ({
  job,
  place,
  id,
  task: place,
  state: "PENDING",
  node: "",
  reason: "Priority",
});

/** Lists what a script submits: its name, its array and what it waits for. */
function submitted(script: string): string[][] {
  const arrays = new Map(
    [...script.matchAll(/scripts\/([\w-]+)\.sh <<'SCRIPT'\n([\s\S]*?)\nSCRIPT/g)].map((
      [, name, text],
    ) => [
      name,
      /--array=(\S+)/.exec(text)?.[1] ?? "",
    ]),
  );
  return [
    ...script.matchAll(/\$\(sbatch --parsable(?: --dependency=(\S+))? \S+scripts\/([\w-]+)\.sh\)/g),
  ]
    .map(([, after = "", name]) => [name, arrays.get(name)!, after]);
}

Deno.test("submitScript() submits what is missing and not queued, after what it stands on", () => {
  const jobs = [
    job("split", [true]),
    job("train", [true, false, false, false], ["split"]),
    job("train-dense", [false]),
    job("ask", [false, false], ["train", "train-dense"]),
    job("all", [false], ["ask"]),
  ];
  const queue = [queued("train", 2, "77"), { ...queued("train-dense", 0, "78"), task: undefined }];
  assertEquals(submitted(submitScript("r", jobs, queue, 1001, {})), [
    ["train", "1,3", ""],
    ["ask", "0-1", "afterok:$train,afterok:77_2,afterok:78"],
    ["all", "", "afterok:$ask"],
  ]);
  const script = submitScript("r", jobs, [], 1001, {});
  // Where sbatch names the cluster, too.
  assertStringIncludes(script, "\ntrain_dense=${train_dense%%;*}\n");
  const done = jobs.map(({ done, ...more }) => ({ ...more, done: done.map(() => true) }));
  assertEquals(submitted(submitScript("r", done, [], 1001, {})), []);
});

Deno.test("submitScript() lets what is queued wait for what takes the place of a failed process, and for the tasks that are left", () => {
  const jobs = [
    job("train", [false, false]),
    job("asks", [false, false, false], ["train"]),
    job("all", [false], ["asks"]),
  ];
  const queue = [
    { ...queued("train", 1, "77"), state: "RUNNING" },
    ...[0, 1, 2].map((place) => queued("asks", place, "79")),
    { ...queued("all", 0, "80"), task: undefined },
  ];
  const renewed = (queue: Queued[], options = {}) =>
    submitScript("r", jobs, queue, 1001, options).matchAll(/^renew (.*)$/gm).map(([, line]) => line)
      .toArray();
  assertEquals(submitted(submitScript("r", jobs, queue, 1001, {})), [["train", "0", ""]]);
  const waits = '"JobId=79_[0-2]" "Dependency=afterok:$train,afterok:77_1"';
  assertEquals(renewed(queue), [waits]);
  assertEquals(renewed([...queue, queued("train", 0, "77")]), []);
  // A limit that is other than before holds for what is queued, too.
  assertEquals(renewed(queue, { expertsAtOnce: 3 }), ['"JobId=79" "ArrayTaskThrottle=3"', waits]);
});

Deno.test("submitScript() bridges arrays that Slurm does not take by an offset, and keeps to so many at once", () => {
  const jobs = [job("train", Array(10).fill(false))];
  const options = { expertsAtOnce: 2 };
  const script = submitScript("r", jobs, [], 4, options);
  assertEquals(submitted(script), [
    ["train", "0-3%2", ""],
    ["train-2", "0-3%2", "afterany:$train"],
    ["train-3", "0-1%2", "afterany:$train_2"],
  ]);
  assertMatch(script, /unit=\$\(\(\$\{SLURM_ARRAY_TASK_ID:-0\} \+ 8\)\)/);
  // What an earlier submission left in the queue comes first, so that no two arrays run at once.
  const queue = [
    { ...queued("train", 0, "77"), state: "RUNNING" },
    queued("train", 1, "77"),
    queued("train", 2, "78"),
  ];
  assertEquals(submitted(submitScript("r", jobs, queue, 1001, options)), [
    ["train", "3-9%2", "afterany:77,afterany:78"],
  ]);
  assertEquals(submitted(submitScript("r", jobs, queue, 1001, {})), [["train", "3-9", ""]]);
});

Deno.test("submitScript() writes what bash reads, with what was asked for", async () => {
  const options = {
    slurmPartition: "gpu",
    time: "04:00:00",
    gres: "gpu:1",
    container: "docker://an image",
  };
  const script = submitScript(
    "a UNIT's #1 at 5%",
    [job("train", [false, false])],
    [],
    1001,
    options,
  );
  for (
    const line of [
      "partition=gpu",
      "time=04:00:00",
      "gres=gpu:1",
      "requeue",
      "kill-on-invalid-dep=yes",
    ]
  ) {
    assertStringIncludes(script, `#SBATCH --${line}\n`);
  }
  assertMatch(
    script,
    /^run apptainer exec --nv --bind .+ 'docker:\/\/an image' deno task train-expert --run/m,
  );
  assertMatch(script, / --run '\S+\/a UNIT'\\''s #1 at 5%' --expert \$unit$/m);
  assertMatch(
    script,
    /^#SBATCH --comment=smalltalk\\ train\\ 0\\ \S+\/a\\ UNIT\\'s\\ \\#1\\ at\\ 5%$/m,
  );
  assertMatch(
    script,
    /^#SBATCH --output=\S+\/a\\ UNIT\\'s\\ \\#1\\ at\\ 5%%\/jobs\/logs\/train\+0-%A_%a\.log$/m,
  );
  const hostile = submitScript("r", [job("train", [false])], [], 1001, {
    container: "a\nSCRIPT\nb",
  });
  assertStringIncludes(hostile, "<<'SCRIPT_'\n");
  const inner = /<<'SCRIPT'\n([\s\S]*?)\nSCRIPT/.exec(script)![1];
  for (const text of [script, inner]) {
    await ok(execute("bash", ["-n", "-c", text]));
  }
});

Deno.test("a job runs its task by number or name in the container, requeues what was stopped, and refuses several cards", () =>
  inFolder(async (folder) => {
    await Deno.mkdir(`${folder}/bin`);
    await Deno.mkdir(`${folder}/dev/dri`, { recursive: true });
    const program = async (name: string, text: string) => {
      await Deno.writeTextFile(`${folder}/bin/${name}`, `#!/bin/sh\n${text}\n`, { mode: 0o755 });
    };
    await program("srun", 'printf "srun"; printf " <%s>" "$@"; echo; exit ${CODE:-0}');
    await program(
      "squeue",
      'echo "${STATE:-RUNNING}   ${RESTARTS:-0}    2:00     ${PREEMPTED:-N/A}  "',
    );
    await program(
      "scontrol",
      'if [ "$1" = show ]; then echo PreemptMode=$MODE; else echo "scontrol $*"; fi',
    );
    const scripts = (options: SlurmOptions, ...jobs: Job[]) =>
      [
        ...submitScript(`${folder}/run`, jobs, [], 2, options).matchAll(
          /<<'SCRIPT'\n([\s\S]*?)\nSCRIPT/g,
        ),
      ]
        .map(([, text]) => text);
    const runScript = async (text: string, env: Record<string, string> = {}) => {
      const { code, out, err } = await execute("bash", ["-c", text], {
        env: {
          PATH: `${folder}/bin:${Deno.env.get("PATH")}`,
          SMALLTALK_DEV: `${folder}/dev`,
          SLURM_JOB_ID: "9",
          SLURM_ARRAY_JOB_ID: "7",
          SLURM_ARRAY_TASK_ID: "1",
          ...env,
        },
      });
      assertEquals(err, "");
      return { code, out };
    };
    const named: Job = {
      ...job("zero-shot", [false, false, false, false]),
      units: ["arc_easy", "sciq", "piqa", "blimp"],
      task: (unit) => taskOf("zero-shot", { run: "r", task: unit }),
    };
    const array: Job = {
      ...job("train-routers", [false, false]),
      task: (unit) => taskOf("train-routers", { run: "r", part: `${unit}/2` }),
    };
    const [first, second] = scripts({ container: "an image", binds: ["/data/a b"] }, named);
    const [group] = scripts({ gres: "gpu:1" }, array);
    const ran = await runScript(second);
    assertEquals(ran.code, 0);
    assertMatch(
      ran.out,
      /^srun <--ntasks=1> <--quiet> <apptainer> <exec> <--nv> <--bind> <.*,.*\/run,\/data\/a b> <an image> /,
    );
    assertMatch(
      ran.out,
      / <deno> <task> <zero-shot> <--run> <.*\/run> <--task> <blimp>\nended with exit code 0\n$/,
    );
    assertStringIncludes((await runScript(first)).out, "<--task> <sciq>");
    assertStringIncludes((await runScript(group)).out, "<train-routers> <--run> ");
    assertStringIncludes((await runScript(group)).out, "<--part> <1/2>");
    // It ended as an interruption does: it is queued again, but where Slurm has done so by itself.
    const stopped = await runScript(group, { CODE: "130" });
    assertEquals(stopped.code, 130);
    assertMatch(stopped.out, /stopped by a signal: queued again\nscontrol requeue 7_1\n$/);
    assertEquals(
      (await runScript(group, { CODE: "130", RESTARTS: "1" })).out.includes("scontrol"),
      false,
    );
    // Slurm queues it where that is the mode.
    const preempted = { CODE: "130", PREEMPTED: "2026-11-29T16:55:57" };
    assertEquals(
      (await runScript(group, { ...preempted, MODE: "REQUEUE" })).out.includes("requeue"),
      false,
    );
    assertStringIncludes(
      (await runScript(group, { ...preempted, MODE: "CANCEL" })).out,
      "scontrol requeue 7_1\n",
    );
    const cancelled = await runScript(group, { CODE: "130", STATE: "COMPLETING" }); // by hand
    assertEquals([cancelled.code, cancelled.out.includes("scontrol")], [130, false]);
    const refused = await runScript(group, { CODE: "2" });
    assertEquals(refused.code, 2);
    assertMatch(refused.out, /\nended with exit code 2\n$/);
    for (const [card, cards] of [["nvidia0", 1], ["nvidia1", 2]] as const) {
      await Deno.writeTextFile(`${folder}/dev/${card}`, "");
      const { code, out } = await runScript(group);
      assertEquals(code, cards === 1 ? 0 : 2);
      assertEquals(
        out.includes("it sees 2; set ConstrainDevices=yes in Slurm's cgroup.conf"),
        cards === 2,
      );
    }
    for (const card of ["nvidia0", "nvidia1"]) await Deno.remove(`${folder}/dev/${card}`);
    for (const node of ["renderD128", "renderD129"]) {
      await Deno.writeTextFile(`${folder}/dev/dri/${node}`, "");
    }
    assertEquals((await runScript(group)).code, 2);
  }));

Deno.test("a training whose time is up is queued again while its attempts gain steps, even if it must be killed, and else fails", () =>
  inFolder(async (folder) => {
    const run = `${folder}/a run`;
    const states = `${run}/scratch/experts~expert-01~0123456789abcdef`;
    for (const place of [`${folder}/bin`, `${run}/jobs/logs`, states]) {
      await Deno.mkdir(place, { recursive: true });
    }
    const programs = {
      // A step that takes longer than the time that is left.
      srun: "/bin/sleep 0.3\nkill -USR1 $PPID\nexec /bin/sleep 60",
      sleep: 'exec /bin/sleep $([ "$1" = 75 ] && echo 0.2 || echo "$1")',
      scancel: 'echo "scancel $*"',
      scontrol: 'echo "scontrol $*"',
      squeue: "echo RUNNING 0 2:00 N/A",
    };
    for (const [name, text] of Object.entries(programs)) {
      await Deno.writeTextFile(`${folder}/bin/${name}`, `#!/bin/sh\n${text}\n`, { mode: 0o755 });
    }
    const training: Job = {
      ...job("train-expert", [false, false]),
      trains: ["experts/expert-00", "experts/expert-01"],
    };
    const script =
      /<<'SCRIPT'\n([\s\S]*?)\nSCRIPT/.exec(submitScript(run, [training], [], 9, {}))![1];
    await Deno.writeTextFile(`${folder}/script`, script);
    const attempt = async () => {
      const line = 'exec bash "$0" | tee -a "$1"; exit ${PIPESTATUS[0]}';
      const { code, out, err } = await execute("bash", ["-c", line, `${folder}/script`, log], {
        env: {
          PATH: `${folder}/bin:${Deno.env.get("PATH")}`,
          SLURM_JOB_ID: "9",
          SLURM_ARRAY_JOB_ID: "7",
          SLURM_ARRAY_TASK_ID: "1",
        },
      });
      assertEquals(err, "");
      return { code, out };
    };
    const log = `${run}/jobs/logs/train-expert+0-7_1.log`;
    const again = (at: string) => ({
      code: 130,
      out: `scancel --signal=TERM 7_1\ntime is up at ${at}: queued again\nscontrol requeue 7_1\n`,
    });
    assertEquals(await attempt(), again(""));
    for (const step of [1, 2]) {
      const name = `step-0000000${step}.safetensors`;
      await Deno.writeTextFile(`${states}/${name}`, "");
      await Deno.utime(`${states}/${name}`, step, step);
      await Deno.writeTextFile(`${states}/step-0000000${step}.metrics.jsonl`, ""); // that lies next to it
      assertEquals(await attempt(), again(name));
    }
    const { code, out } = await attempt();
    assertEquals(code, 1);
    assertMatch(
      out,
      /^scancel --signal=TERM 7_1\nerror: Cannot go on as an attempt must gain a step: .* limit is 2:00, .* \d+ s .* --checkpoint-minutes\nended with exit code 1\n$/,
    );
  }));

Deno.test("a process that the system ends is queued again while its checkpoint moves, and three ends at the same one end it for good", () =>
  inFolder(async (folder) => {
    const run = `${folder}/run`;
    const states = `${run}/scratch/experts~expert-01~0123456789abcdef`;
    for (const place of [`${folder}/bin`, `${run}/jobs/logs`, states]) {
      await Deno.mkdir(place, { recursive: true });
    }
    const programs = {
      srun: '[ -z "$SAYS" ] || { echo "$SAYS"; sleep 0.5; }; exit $CODE', // the log takes a moment
      scontrol: 'echo "scontrol $*"',
      squeue: "echo ${STATE:-RUNNING} 0 2:00 N/A",
    };
    for (const [name, text] of Object.entries(programs)) {
      await Deno.writeTextFile(`${folder}/bin/${name}`, `#!/bin/sh\n${text}\n`, { mode: 0o755 });
    }
    const scriptOf = (job: Job) =>
      /<<'SCRIPT'\n([\s\S]*?)\nSCRIPT/.exec(submitScript(run, [job], [], 9, {}))![1];
    const attempt = async (
      script: string,
      log: string,
      code: number,
      { state = "RUNNING", says = "" } = {},
    ) => {
      await Deno.writeTextFile(`${folder}/script`, script);
      const line = 'exec bash "$0" | tee -a "$1"; exit ${PIPESTATUS[0]}';
      const { code: ended, out, err } = await execute(
        "bash",
        ["-c", line, `${folder}/script`, log],
        {
          env: {
            PATH: `${folder}/bin:${Deno.env.get("PATH")}`,
            SLURM_JOB_ID: "9",
            SLURM_ARRAY_JOB_ID: "7",
            SLURM_ARRAY_TASK_ID: "1",
            CODE: String(code),
            STATE: state,
            SAYS: says,
          },
        },
      );
      assertEquals(err, "");
      return { code: ended, out };
    };
    const again = (code: number, reason: string, at: string) => ({
      code: 130,
      out:
        `ended with exit code ${code} (${reason}) at ${at}: queued again\nscontrol requeue 7_1\n`,
    });
    const training = scriptOf({
      ...job("train-expert", [false, false]),
      trains: ["experts/expert-00", "experts/expert-01"],
    });
    const log = `${run}/jobs/logs/train-expert+0-7_1.log`;
    const killed = "killed, as where memory runs out";
    const aborted = "aborted, as by a driver that lost its device";
    const crashed = "crashed, as in a driver";
    const none = "no checkpoint";
    assertEquals(await attempt(training, log, 137), again(137, killed, none));
    assertEquals(await attempt(training, log, 134), again(134, aborted, none));
    const checkpoint = "step-00000200.safetensors";
    await Deno.writeTextFile(`${states}/${checkpoint}`, "");
    assertEquals(await attempt(training, log, 139), again(139, crashed, checkpoint));
    assertEquals(await attempt(training, log, 139), again(139, crashed, checkpoint));
    const last = await attempt(training, log, 137);
    assertEquals(last.code, 137);
    assertMatch(
      last.out,
      /^error: Cannot go on as an attempt must gain a step: three ended at step-00000200\.safetensors, this one with exit code 137 \(killed, .*\) on \S+; .*, and submit again\nended with exit code 137\n$/,
    );
    await Deno.writeTextFile(`${states}/step-00000300.safetensors`, "");
    const panic = "Deno has panicked. This is a bug in Deno. Please report this";
    for (const says of [panic, "error: Cannot go on as the GPU lost its device, at or before …"]) {
      const { code, out } = await attempt(training, log, 1, { says });
      assertEquals([code, out.split("\n")[1]], [
        130,
        "ended with exit code 1 (its device was lost) at step-00000300.safetensors: queued again",
      ]);
    }
    const own = await attempt(training, log, 1, { says: "error: Cannot go on training" });
    assertEquals(own, { code: 1, out: "error: Cannot go on training\nended with exit code 1\n" });
    // Other tasks keep no checkpoints that a job knows of.
    const score = scriptOf({ ...job("score", [false, false]), device: true });
    const other = `${run}/jobs/logs/score+0-7_1.log`;
    assertEquals(await attempt(score, other, 139), again(139, crashed, none));
    assertEquals(await attempt(score, other, 139), again(139, crashed, none));
    assertEquals((await attempt(score, other, 139)).code, 139);
    // Somebody has cancelled it.
    const cancelled = await attempt(score, `${run}/jobs/logs/none.log`, 137, {
      state: "COMPLETING",
    });
    assertEquals(cancelled, { code: 130, out: "" });
  }));

Deno.test("endedJobs() finds what was started and is neither complete nor queued, with its last word", () =>
  inFolder(async (run) => {
    await Deno.mkdir(`${run}/jobs/logs`, { recursive: true });
    for (
      const [name, text] of [
        ["train+0-5_0.log", "done"],
        ["train+0-5_1.log", "error: an old one"],
        ["train+0-12_1.log", "so far\nerror: Cannot go on"],
        ["train+2-6_0.log", "running"],
      ]
    ) await Deno.writeTextFile(`${run}/jobs/logs/${name}`, `${text}\n`);
    const others = { "other+0-12_0.log": "an old one", "other+0-5.log": "\x1b[32mGreen" };
    for (const [i, [name, text]] of Object.entries(others).entries()) {
      await Deno.writeTextFile(`${run}/jobs/logs/${name}`, text);
      await Deno.utime(`${run}/jobs/logs/${name}`, i, i); // numbers of different origin tell nothing
    }
    const jobs = [job("train", [true, false, false, false]), job("other", [false])];
    const queue = [{ ...queued("train", 2, "6"), state: "RUNNING", node: "n1" }];
    const { ended, unknown } = await endedJobs(run, jobs, queue);
    assertEquals(unknown, []);
    const log = "jobs/logs/train+0-12_1.log";
    using own = await Deno.open(`${run}/jobs/logs/other+0-5.log`);
    await own.lock(true); // as the process does that works on this machine
    assertEquals((await endedJobs(run, jobs, queue)).ended.map(({ job }) => job), ["train"]);
    const other = {
      job: "other",
      place: 0,
      log: "jobs/logs/other+0-5.log",
      code: null,
      line: "Green",
    };
    assertEquals(ended, [
      { job: "train", place: 1, log, code: null, line: "error: Cannot go on" },
      other,
    ]);
    assertEquals(
      queueText(queue, { ended: ended.slice(0, 1), unknown }),
      `  train 2  running on n1\n  train 1  ended: error: Cannot go on (${log})`,
    );
  }));

Deno.test("endedJobs() reports how a process ended, also one that is no longer planned", () =>
  inFolder(async (run) => {
    await Deno.mkdir(`${run}/jobs/logs`, { recursive: true });
    const write = (name: string, lines: string[]) =>
      Deno.writeTextFile(`${run}/jobs/logs/${name}`, lines.join("\n") + "\n");
    const left = "expert-00  step 90 of 400, 55 s left";
    const exited = "srun: error: n1: task 0: Exited with exit code 137";
    const stuck = "error: Cannot go on as an attempt must gain a step: three ended";
    await write("corpus+0-9_0.log", ["error: an old one", "ended with exit code 2"]);
    await Deno.utime(`${run}/jobs/logs/corpus+0-9_0.log`, 1, 1);
    await Deno.writeTextFile(`${run}/jobs/plan.json`, "{}");
    await write("corpus+0-9_1.log", ["error: Cannot read", exited, "ended with exit code 2"]);
    await write("corpus+0-9_2.log", ["done", "ended with exit code 0"]);
    await write("train+0-12_0.log", [left, exited, stuck, "ended with exit code 137"]);
    await write("train+0-12_1.log", [
      "error: an earlier attempt",
      "ended with exit code 139 (crashed, as in a driver) at no checkpoint: queued again",
      `a bar\r${left}`,
      "slurmstepd: error: *** JOB 12 ON n1 CANCELLED ***",
    ]);
    await write("train+0-12_2.log", [
      "srun: error: Unable to create step",
      "ended with exit code 1",
    ]);
    const { ended, unknown } = await endedJobs(run, [job("train", [false, false, false])], []);
    assertEquals(unknown, []);
    assertEquals(ended.map(({ job, place, code, line }) => [job, place, code, line]), [
      ["train", 0, 137, stuck],
      ["train", 1, null, "slurmstepd: error: *** JOB 12 ON n1 CANCELLED ***"],
      ["train", 2, 1, "srun: error: Unable to create step"],
      ["corpus", 1, 2, "error: Cannot read"],
    ]);
    assertStringIncludes(
      queueText([], { ended, unknown }),
      "\n  corpus 1  ended with exit code 2: error: Cannot read (jobs/logs/corpus+0-9_1.log)",
    );
  }));

Deno.test("deno task status does not wait for a queue that does not come", () =>
  inFolder(async (folder) => {
    await Deno.mkdir(`${folder}/slurm`);
    await writeFakeSlurm(`${folder}/slurm`);
    await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus(4));
    const run = `${folder}/run`;
    const args = ["--run", run, "--input", `${folder}/docs.jsonl`, "--experts", "3", "--settle"];
    const env = { PATH: `${folder}/slurm:/usr/bin:/bin` };
    await ok(task("submit", args, { env }));
    // A shell waits for the one that holds its output.
    await Deno.writeTextFile(`${folder}/slurm/squeue`, "#!/bin/sh\n/bin/sleep 60\n:\n");
    const start = performance.now();
    const { out } = await ok(task("status", ["--run", run], { env }));
    assert(performance.now() - start < 30_000);
    assertStringIncludes(out, "jobs (Slurm does not answer here): none");
  }));

Deno.test("deno task submit names the command of Slurm that is not there, before it writes anything", () =>
  inFolder(async (folder) => {
    await Deno.mkdir(`${folder}/slurm`);
    await writeFakeSlurm(`${folder}/slurm`);
    await Deno.remove(`${folder}/slurm/sbatch`);
    await Deno.symlink("/bin/sh", `${folder}/slurm/sh`);
    await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus(4));
    const run = `${folder}/run`;
    await refused(
      task("submit", ["--run", run, "--input", `${folder}/docs.jsonl`], {
        env: { PATH: `${folder}/slurm` },
      }),
      "error: Cannot use Slurm as its commands must be there: there is no sbatch; install them (on Debian slurm-client), ",
    );
    assertEquals(await exists(run), false);
  }));

Deno.test("endedJobs() does not know of Slurm's processes where it has no queue, and of those of this machine it does", () =>
  inFolder(async (run) => {
    await Deno.mkdir(`${run}/jobs/logs`, { recursive: true });
    await Deno.writeTextFile(`${run}/jobs/logs/train+0-12_1.log`, "step 1200 of 4000");
    await Deno.writeTextFile(`${run}/jobs/logs/train+0-${Date.now()}_0.log`, "error: Cannot go on");
    const found = await endedJobs(run, [job("train", [false, false])], null);
    assertEquals(Object.values(found).map((some) => some.map(({ place }) => place)), [[0], [1]]);
    assertStringIncludes(queueText([], found), "\n  train 1  last word: step 1200 of 4000 (");
  }));

Deno.test("deno task submit reports what to install where there is no Slurm, and prints scripts all the same", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus(4));
    const args = ["--run", `${folder}/run`, "--input", `${folder}/docs.jsonl`, "--experts", "3"];
    const env = { PATH: folder }; // where no command is
    const { code, err } = await task("submit", args, { env });
    assertEquals(code, 2, err);
    assertMatch(
      err,
      /^error: Cannot use Slurm as its commands must be there: there is no squeue; install .* or use --executor local\n$/,
    );
    // Nothing is written.
    assertEquals(await Array.fromAsync(Deno.readDir(folder)).then((all) => all.length), 1);
    await ok(task("submit", [...args, "--settle"], { env }));
    const status = await task("status", ["--run", `${folder}/run`], { env });
    assertEquals([status.code, status.err], [0, ""]);
    assertStringIncludes(status.out, "jobs (Slurm does not answer here): none");
    await refused(
      task("submit", ["--run", `${folder}/run`, "--executor", "local"], { env }),
      "error: Cannot run the jobs here as deno must be on the path: it is not; ",
    );
    const dry = await ok(task("submit", [...args, "--dry-run"], { env }));
    assertMatch(dry.out, /^deno task submit --run \S+ .* --settle$/m);
    assertStringIncludes(
      dry.out,
      "train_expert=$(sbatch --parsable --dependency=afterok:$partition ",
    );
  }));

/**
 * Writes commands that stand for Slurm's: `sbatch` takes its time and keeps what it is given,
 * `squeue` lists that.
 */
async function writeFakeSlurm(folder: string): Promise<void> {
  const commands = {
    scontrol: `[ "$1" != update ] || {
  echo "$2 $3" >>${folder}/updates
  [ ! -e ${folder}/gone ] || { echo "scontrol: $2 is gone" >&2; exit 1; }
  exit
}
echo MaxArraySize = 1001`,
    squeue: `[ ! -e ${folder}/queue ] || cat ${folder}/queue`,
    sbatch: `for script; do :; done
sleep 0.2
id=$$
echo "$id" >>${folder}/numbers
array=$(sed -n 's/^#SBATCH --array=\\([0-9-]*\\).*/\\1/p' "$script")
comment=$(sed -n "s/^#SBATCH --comment=//p" "$script" | tr -d "\\"'\\\\\\\\")
tasks=N/A
[ -z "$array" ] || tasks=$(seq "\${array%-*}" "\${array#*-}")
for index in $tasks; do echo "$id|$index|PENDING||Priority|$comment" >>${folder}/queue; done
echo "$id"`,
  };
  for (const [name, text] of Object.entries(commands)) {
    await Deno.writeTextFile(`${folder}/${name}`, `#!/bin/sh\nPATH=/usr/bin:/bin\n${text}\n`, {
      mode: 0o755,
    });
  }
}

Deno.test("deno task submit queues nothing twice where two run at the same moment, one of them by a link to the folder", () =>
  inFolder(async (folder) => {
    await Deno.mkdir(`${folder}/slurm`);
    await writeFakeSlurm(`${folder}/slurm`);
    await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus(4));
    await Deno.mkdir(`${folder}/runs`);
    await Deno.symlink(`${folder}/runs`, `${folder}/linked`);
    const args = ["--input", `${folder}/docs.jsonl`, "--experts", "3", "--json"];
    const env = { PATH: `${folder}/slurm:/usr/bin:/bin` };
    const submit = (place: string) =>
      task("submit", ["--run", `${folder}/${place}/run`, ...args], { env });
    const both = await Promise.all([submit("runs"), submit("linked")]);
    assertEquals(both.map(({ code }) => code), [0, 0], both.map(({ err }) => err).join(""));
    const outs = both.map(({ out }) => JSON.parse(out)).sort((a, b) =>
      a.queued.length - b.queued.length
    );
    const jobs = outs[0].submitted.map(({ job }: { job: string }) => job);
    assertEquals(jobs.length, new Set(jobs).size);
    assertStringIncludes(jobs.join(" "), "train-expert");
    assertEquals(outs[1].submitted, []);
    const numbers = (await Deno.readTextFile(`${folder}/slurm/numbers`)).trim().split("\n");
    assertEquals(numbers.length, jobs.length);
  }));
