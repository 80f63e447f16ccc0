import { assertEquals, assertFalse, assertMatch, assertStringIncludes } from "@std/assert";
import { exists } from "../pipeline/graph/files.ts";
import { listOwners } from "../pipeline/graph/lock.ts";
import { hasSlurm, logsOf, startSlurm, until } from "./slurm.ts";
import {
  inFolder,
  lastOfEach,
  ok,
  SMALL,
  smallCorpus,
  task,
  taskHere,
  trainingFlags,
  whatIsMade,
} from "./tasks/support.ts";

const EXPERTS = 5; // more than an array may have here
const PARTITION = [
  ...SMALL,
  "--experts",
  String(EXPERTS),
  "--holdout",
  "0.3",
  "--block-bytes",
  "8192",
];
const TRAINING = trainingFlags(400);

/** Makes a run as one process after another does, and hashes it. */
async function undisturbed(folder: string): Promise<Record<string, string>> {
  const run = `${folder}/one`;
  for (
    const [name, ...args] of [
      ["partition", "--input", `${folder}/docs.jsonl`, ...PARTITION],
      ["train-expert", "--expert", "all", ...TRAINING],
      ["train-dense"],
      ["evaluate"],
    ]
  ) {
    await ok(taskHere(name, ["--run", run, ...lastOfEach(args)]));
  }
  return await whatIsMade(run);
}

Deno.test({
  name:
    "Slurm makes a run by parts, through signals, preemption and a failure, with the bytes of one process",
  ignore: !hasSlurm,
  fn: () =>
    inFolder(async (folder) => {
      await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus());
      await Deno.mkdir(`${folder}/slurm`);
      const cluster = await startSlurm(`${folder}/slurm`, { maxArraySize: 4 });
      const { env } = cluster;
      let whole: ReturnType<typeof undisturbed> | undefined;
      try {
        const run = `${folder}/run`;
        const submit = async (...more: string[]) => {
          const settings = ["--input", `${folder}/docs.jsonl`, ...PARTITION, ...TRAINING];
          const flags = ["--parts", "2", "--experts-at-once", "2", "--time", "00:10:00"];
          const { out } = await ok(
            task("submit", ["--run", run, ...settings, ...flags, ...more], { env }),
          );
          return out;
        };
        const empty = async () => (await cluster.run("squeue", "--noheader")) === "";

        const first = await submit();
        whole = undisturbed(folder); // in parallel, in the time that Slurm waits
        whole.catch(() => {}); // reported below, unless something else fails first
        assertMatch(first, /^score: 2 processes as \d+$/m);
        assertMatch(first, /^train-expert: 4 processes as \d+\ntrain-expert: 1 process as \d+$/m);
        const again = await submit("--experts-at-once", "1"); // all of it is queued
        assertFalse(/ as \d+$/m.test(again), again);
        assertStringIncludes(again, "queued or running before");
        const [, array] = /^train-expert: 4 processes as (\d+)$/m.exec(first)!;
        const atOnce = async () =>
          /ArrayTaskThrottle=(\d+)/.exec(await cluster.run("scontrol", "show", "job", array))?.[1];
        assertEquals(await atOnce(), "1");
        await submit();
        assertEquals(await atOnce(), "2");
        const { out: queued } = await task("status", ["--run", run], { env });
        assertMatch(queued, /^ {2}train-expert 0-4 {2}pending( \(Dependency\))?$/m);

        const started = (job: string) => async () => / started$/m.test(await logsOf(run, job));
        const says = (job: string, text: string) => async () =>
          (await logsOf(run, job)).includes(text);

        // Preemption: a job of more weight takes the node, and what ran there saves its state and
        // is queued again.
        await until("the training of the dense model", started("train-dense+0"));
        const urgent = ["--partition=urgent", "--ntasks=2", "--output=/dev/null", "--wrap=sleep 1"];
        await cluster.run("sbatch", ...urgent);
        const [, dense] = /^train-dense: 1 process as (\d+)$/m.exec(first)!;
        const queuedAgain = async () =>
          (await Deno.readTextFile(`${folder}/slurm/slurmctld.log`))
            .match(new RegExp(`Requeuing JobId=${dense}\\b`, "g"))?.length;
        // Its last words may be lost with srun.
        await until("its interruption", async () => await queuedAgain() === 1);

        // A part of an expert that is damaged: its training fails for good.
        const shard = `${run}/partition/expert-03/train-00000.arrow`;
        await until("the training of an expert", started("train-expert+0"));
        await Deno.rename(shard, `${folder}/shard`);

        // Nobody's signal: the task is gone, and goes on from its checkpoint.
        const trainsFirst = async () =>
          (await listOwners(run)).find(({ node }) => node === "experts/expert-00");
        await until("the training of the first expert", async () =>
          await trainsFirst() !== undefined);
        Deno.kill((await trainsFirst())!.pid, "SIGKILL");
        const killed = "ended with exit code 137 (killed, as where memory runs out) at ";
        await until("its requeue", says("train-expert+0", killed));
        await until("its second attempt", async () =>
          await trainsFirst() !== undefined);

        // A signal: the task saves its state, and it alone is queued again. It may say that the job
        // can not be altered now: it tries again while the task is already being queued.
        await cluster.run("scancel", "--signal=USR1", "--batch", `${array}_0`).catch(() => {});
        await until("its requeue", says("train-expert+0", "time is up at "));
        await until("the end of the queue", empty);
        assertEquals(await queuedAgain(), 1);

        const { out } = await task("status", ["--run", run], { env });
        const failed =
          /^ {2}train-expert 3 {2}ended with exit code 2: error: .*partition\/expert-03/m;
        assertMatch(out, failed);
        assertEquals(await exists(`${run}/experts/expert-03/model.safetensors`), false);
        for (const expert of [0, 1, 2, 4]) {
          await Deno.stat(`${run}/experts/expert-0${expert}/model.safetensors`);
        }
        await Deno.stat(`${run}/dense/model.safetensors`);

        await Deno.rename(`${folder}/shard`, shard);
        // What a dry run prints is submitted by whoever runs it.
        const mended = await submit("--dry-run");
        assertEquals([...mended.matchAll(/^#SBATCH --job-name=(\S+)$/gm)].map(([, name]) => name), [
          ...["train-expert", "evaluate-models", "evaluate-models", "evaluate", "report"],
        ]);
        assertMatch(mended, /^#SBATCH --array=3%2$/m);
        await Deno.writeTextFile(`${folder}/submit.sh`, mended);
        await cluster.run("bash", `${folder}/submit.sh`);
        await until("the end of the queue", empty);
        assertStringIncludes(await submit(), "nothing is missing");
        await Deno.stat(`${run}/report.html`);
        assertEquals(await whatIsMade(run), await whole);
      } finally {
        await cluster.stop();
        await whole?.catch(() => {});
      }
    }),
});
