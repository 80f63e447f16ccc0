import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { assertEquals } from "@std/assert";
import { parquetWriteBuffer } from "hyparquet-writer";
import { fillValues } from "../../pipeline/settings/mod.ts";
import {
  type JobPlan,
  listMissing,
  nameUnit,
  planJobs,
  readJobPlan,
} from "../../pipeline/run/mod.ts";
import { PLANNING, readPlan } from "../../tasks/submit.ts";
import { taskArguments } from "../../tasks/cli/wording.ts";
import { inFolder, lastOfEach, ok, SMALL, smallCorpus, taskHere, whatIsMade } from "./support.ts";

// A folder that is there.
const DATA = fileURLToPath(new URL(".", import.meta.url)).replace(/\/$/, "");

/** Plans by these flags, with others said to be false. */
function planned(
  flags: Record<string, unknown> = {},
  before: JobPlan | null = null,
  denied: string[] = [],
): Partial<JobPlan> {
  const said = { givenNames: new Set(Object.keys(flags)), denied: new Set(denied) };
  const plan = readPlan(fillValues(PLANNING, flags), said, before);
  return Object.fromEntries(Object.entries(plan).filter(([, value]) => value !== undefined));
}

Deno.test("readPlan() takes what flags say, and what was planned before otherwise", () => {
  assertEquals(planned(), { parts: 1, dense: ["batch"] });
  const flags = {
    parts: 4,
    routerGroups: 2,
    dense: "compute,switch,batch",
    zeroShot: "own,arc_easy",
    zeroShotData: DATA,
    checkpointEvery: 50,
    keep: 3,
    recompute: true,
    slurmPartition: "gpu",
    gres: "gpu:1",
    time: "04:00:00",
    expertsAtOnce: 8,
    container: "an image.sif",
  };
  const plan = planned(flags) as JobPlan;
  assertEquals(plan, {
    parts: 4,
    dense: ["batch", "compute", "switch"],
    routerGroups: 2,
    training: { checkpointEvery: 50, keep: 3, recompute: true },
    zeroShot: { tasks: ["last_word", "shuffled_words", "next_sentence", "arc_easy"], data: DATA },
    slurm: {
      slurmPartition: "gpu",
      gres: "gpu:1",
      time: "04:00:00",
      expertsAtOnce: 8,
      container: resolve("an image.sif"), // jobs start in another folder
    },
  });
  assertEquals(planned({}, plan), plan);
  assertEquals(planned({ keep: 1, dense: "none", zeroShot: "none", parts: 2 }, plan), {
    parts: 2,
    dense: [],
    routerGroups: 2,
    training: { checkpointEvery: 50, keep: 1, recompute: true },
    slurm: plan.slurm,
  });
  assertEquals(planned({}, plan, ["recompute", "requireGpu"]).training, {
    checkpointEvery: 50,
    keep: 3,
  });
  const once = planned({ requireGpu: true }) as JobPlan;
  assertEquals([once.training, planned({}, once, ["requireGpu"]).training], [
    { requireGpu: true },
    undefined,
  ]);
  const none = {
    slurmPartition: "none",
    gres: "none",
    time: "none",
    expertsAtOnce: 0,
    container: "none",
  };
  assertEquals(planned({ gres: "gpu:a100:1" }, plan).slurm, { ...plan.slurm, gres: "gpu:a100:1" });
  assertEquals(planned({ ...none, container: "docker://an/image" }, plan).slurm, {
    container: "docker://an/image",
  });
  assertEquals(planned(none, plan).slurm, undefined);
  assertEquals(planned({ dense: "both" }).dense, ["batch", "steps"]);
  assertEquals(planned({ dense: "all" }).dense, ["batch", "steps", "compute", "switch"]);
});

/** Flags of inputs that differ in what the first stages make of them. */
async function writeInputs(folder: string): Promise<Record<string, string[]>> {
  const docs = `${folder}/docs.jsonl`;
  const corpus = smallCorpus(20);
  const texts = corpus.trim().split("\n").map((line) => JSON.parse(line).text as string);
  await Deno.writeTextFile(docs, corpus);
  await Deno.mkdir(`${folder}/texts`);
  for (const [i, text] of texts.entries()) {
    await Deno.writeTextFile(`${folder}/texts/${i}.txt`, text);
  }
  await Deno.writeTextFile(`${folder}/named.jsonl`, `${JSON.stringify({ text: texts[0] })}\n`);
  const columnData = [{ name: "text", data: texts, type: "STRING" as const }];
  const parquet = new Uint8Array(parquetWriteBuffer({ columnData, rowGroupSize: 8 }));
  await Deno.writeFile(`${folder}/docs.parquet`, parquet);
  const packed = new Blob([corpus]).stream().pipeThrough(new CompressionStream("gzip"));
  await Deno.writeFile(`${folder}/docs.jsonl.gz`, packed);
  return {
    embedded: ["--corpus-characters", "9000"],
    wide: ["--corpus", "wide", "--corpus-characters", "9000"],
    files: ["--input", `${folder}/texts`],
    packed: ["--input", `${folder}/docs.jsonl.gz`],
    parquet: ["--input", `${folder}/docs.parquet`],
    dedup: ["--input", docs, "--dedup", "exact"],
    decontaminate: ["--input", docs, "--decontaminate", `${folder}/named.jsonl`],
    tree: ["--input", docs, "--levels", "2,2", "--partitioner", "em"],
  };
}

Deno.test("the processes that submit plans in two parts make of every kind of input what one process makes", () =>
  inFolder(async (folder) => {
    const small = lastOfEach([
      ...SMALL.slice(0, SMALL.indexOf("--source-field")),
      ...["--experts", "4", "--partitioner", "random", "--block-bytes", "4096"],
      ...["--holdout", "0.3", "--rounds", "1"],
    ]);
    for (const [input, flags] of Object.entries(await writeInputs(folder))) {
      const run = `${folder}/${input}`;
      const settings = lastOfEach([...small, ...flags]);
      await ok(taskHere("submit", ["--run", run, "--parts", "2", "--settle", ...settings]));
      const jobs = await planJobs({ run, ...await readJobPlan(run) });
      const last = jobs.findIndex(({ name }) => name === "partition");
      for (const job of jobs.slice(0, last + 1)) {
        for (const place of listMissing(job)) {
          const [name, ...args] = taskArguments(job.task(nameUnit(job, place)));
          await ok(taskHere(name, args));
        }
      }
      await ok(taskHere("partition", ["--run", `${run}-whole`, ...settings]));
      assertEquals(await whatIsMade(run), await whatIsMade(`${run}-whole`), input);
    }
  }));
