import { assert, assertEquals, assertMatch } from "@std/assert";
import { inFolder, ok, SMALL, smallCorpus, task, trainingFlags } from "./tasks/support.ts";

const EXPERTS = 128;
const TRAINED = [0, 7, 127];

Deno.test("a run of 128 experts is partitioned, evaluated by those that are trained, and reported in few lines", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus(64));
    const run = ["--run", `${folder}/run`];
    const seconds: Record<string, number> = {};
    const step = async (name: string, ...args: string[]) => {
      const start = performance.now();
      const { out } = await ok(task(name, [...run, ...args]));
      seconds[name] = (performance.now() - start) / 1000;
      return out;
    };
    const rounds = "--rounds 1 --round-sequences 4 --router-batch 2".split(" ");
    const settings = [...SMALL, "--experts", String(EXPERTS), "--holdout", "0.3", ...rounds];
    await step("partition", "--input", `${folder}/docs.jsonl`, ...settings);
    for (const id of TRAINED) {
      await step("train-expert", "--expert", String(id), ...trainingFlags(2));
    }
    await step("evaluate", "--trained");
    await step("report");

    const status = await step("status");
    assert(status.split("\n").length < 60, status);
    assertMatch(status, /^train-expert-000, 007, 127 \(3\) +up to date/m);
    assertMatch(status, /^train-expert-001 … 006, 008 … 126 \(125\) +missing$/m);
    const json = JSON.parse(await step("status", "--json"));
    const trained = json.stages.filter(({ stage, state }: { stage: string; state: string }) =>
      stage.startsWith("train-expert-") && state === "up to date"
    );
    assertEquals(trained.length, TRAINED.length);
    const plan = await step("submit", "--executor", "local", "--dry-run");
    assertMatch(plan, /^train-expert: 125 processes$/m);
    const scripts = await step(
      "submit",
      "--executor",
      "slurm",
      "--dry-run",
      "--experts-at-once",
      "8",
    );
    assertMatch(scripts, /^#SBATCH --array=1-6,8-126%8$/m);

    const report = await Deno.readTextFile(`${folder}/run/report.html`);
    assert(report.length < 8e6, `${report.length} characters`);
    assert(report.includes("127"));
    const reported = Object.entries(seconds).map(([name, time]) => `${name} ${time.toFixed(1)} s`)
      .join(", ");
    console.log(
      `with ${EXPERTS} experts: ${reported}; report.html of ${
        (report.length / 2 ** 20).toFixed(1)
      } MiB`,
    );
  }));
