import { assert, assertEquals } from "@std/assert";
import { hasSlurm, logsOf, startSlurm, until } from "./slurm.ts";
import {
  copyFolder,
  inFolder,
  ok,
  SMALL,
  smallCorpus,
  task,
  trainingFlags,
} from "./tasks/support.ts";

Deno.test({
  name:
    "a training that Slurm's time limit stops goes on from that very step, to the bytes of one that nothing stops",
  ignore: !hasSlurm,
  fn: () =>
    inFolder(async (folder) => {
      const run = `${folder}/run`;
      const succeed = async (name: string, ...args: string[]) =>
        (await ok(task(name, args, { env }))).out;
      await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus());
      await Deno.mkdir(`${folder}/slurm`);
      const { env, ...cluster } = await startSlurm(`${folder}/slurm`);
      let whole: Promise<unknown> | undefined;
      try {
        const text = ["--input", `${folder}/docs.jsonl`];
        await succeed("partition", "--run", run, ...text, ...SMALL, "--experts", "1");
        copyFolder(run, `${folder}/whole`);
        const training = [...trainingFlags(6000), "--checkpoint-every", "0"];
        // Slurm counts minutes, and looks at limits every half of one: the warning comes within the
        // first.
        const flags = ["--dense", "none", "--time", "00:02:00", ...training];
        const out = await succeed("submit", "--run", run, ...flags);
        whole = succeed("train-expert", "--run", `${folder}/whole`, "--expert", "0", ...training);
        whole.catch(() => {}); // reported below, unless something else fails first
        const [, id] = /^train-expert: 1 process as (\d+)$/m.exec(out)!;
        const queued = async () =>
          (await cluster.run("squeue", "--noheader", "--format=%F")).split("\n");
        await until("the end of the training", async () => !(await queued()).includes(id));
        const log = await logsOf(run, "train-expert+0");
        const stops = [
          ...log.matchAll(/^time is up at (?:step-(\d+)\.safetensors)?: queued again$/gm),
        ];
        const begins = [...log.matchAll(/goes on after step (\d+) of 6000/g)];
        const steps = stops.map(([, step = 0]) => Number(step)).filter((step) => step > 0);
        assert(steps.length > 0, log);
        assertEquals(begins.map(([, step]) => Number(step)), steps, log);
        await whole;
        const model = "experts/expert-00/model.safetensors";
        const [made, expected] = await Promise.all(
          [run, `${folder}/whole`].map((run) => Deno.readFile(`${run}/${model}`)),
        );
        assertEquals(made, expected);
      } finally {
        await cluster.stop();
        await whole?.catch(() => {});
      }
    }),
});
