import { assert, assertEquals, assertGreater, assertStringIncludes } from "@std/assert";
import { exists } from "../pipeline/graph/files.ts";
import {
  hashes,
  inFolder,
  lastOfEach,
  ok,
  refused,
  SMALL,
  smallCorpus,
  smallRun,
  smallRunAt,
  task,
  taskHere,
} from "./tasks/support.ts";

/** Partitions the same text into `run`. */
async function partitionSmall(
  run: string,
  more: string[] = [],
): Promise<{ out: string; err: string }> {
  const { docs } = await smallRun();
  if (more.length === 0 && !await exists(run)) return await smallRunAt(run);
  return await ok(
    taskHere("partition", lastOfEach(["--run", run, "--input", docs, ...SMALL, ...more])),
  );
}

/** Names the stages that ran, from what a task reported. */
const ran = (err: string): string[] =>
  [...err.matchAll(/^\S+Z (\S+) +done/gm)].map(([, stage]) => stage);

Deno.test("partition sends two kinds of text to different experts and reports so", () =>
  inFolder(async (folder) => {
    const { out } = await partitionSmall(`${folder}/run`, ["--json", "--rounds", "6"]);
    const summary = JSON.parse(out);
    assertGreater(summary.nmi, 0.5);
    assertEquals(summary.rounds.length, 6);
    const [a, b] = summary.experts;
    assert(Math.abs(a.sequences - b.sequences) <= 1);
  }));

Deno.test("partition gives the same bytes in a second run folder, in one process or one per stage", () =>
  inFolder(async (folder) => {
    await partitionSmall(`${folder}/a`);
    const expected = await hashes(`${folder}/a`);
    const stages = ["corpus", "tokenizer", "tokenize", "train-routers", "score", "assign", "split"];
    for (const stage of stages) {
      const config = stage === "corpus" ? ["--config", `${folder}/a/config.json`] : [];
      await ok(task(stage, ["--run", `${folder}/b`, ...config]));
    }
    assertEquals(await hashes(`${folder}/b`), expected);
  }));

Deno.test("partition skips what is up to date, and a changed flag reruns what depends on it and nothing else", () =>
  inFolder(async (folder) => {
    const run = `${folder}/run`;
    await partitionSmall(run);
    assertEquals(ran((await partitionSmall(run)).err), []);

    await refused(
      taskHere("partition", ["--run", run, "--method", "argmax"]),
      'it is "argmax", there it is "balanced"',
    );

    const forced = async (...flags: string[]) => {
      const { err } = await ok(taskHere("partition", ["--run", run, "--force", ...flags]));
      return ran(err);
    };
    assertEquals(await forced("--method", "argmax"), ["assign", "split"]);
    assertEquals(await forced("--rounds", "4"), ["train-routers", "score", "assign", "split"]);
    assertEquals(
      await forced("--expert-steps", "7").catch(() => "refused"),
      "refused",
      "a flag of another task",
    );
    assertEquals((await forced()).length, 6, "without a change, all");

    const [block] = Deno.readDirSync(`${run}/scores`);
    await Deno.remove(`${run}/scores/${block.name}/train.arrow`);
    assertEquals(
      ran((await taskHere("partition", ["--run", run])).err),
      ["score"],
      "what is missing is made again",
    );
  }));

Deno.test("partition with more rounds comes to the bytes of a run that had as many at once", () =>
  inFolder(async (folder) => {
    await partitionSmall(`${folder}/a`, ["--rounds", "5"]);
    await partitionSmall(`${folder}/b`);
    await ok(taskHere("partition", ["--run", `${folder}/b`, "--rounds", "5", "--force"]));
    assertEquals(await hashes(`${folder}/b`), await hashes(`${folder}/a`));
  }));

Deno.test("partition reads standard input, and a run of it resumes without", () =>
  inFolder(async (folder) => {
    const flags = ["--run", `${folder}/run`, "--input", "-", "--format", "jsonl", ...SMALL];
    await ok(task("partition", flags, { input: smallCorpus() }));
    await Deno.remove(`${folder}/run/partition`, { recursive: true });
    const second = await ok(taskHere("partition", ["--run", `${folder}/run`]));
    assertEquals(ran(second.err), ["split"]);
  }));

Deno.test("partition gives the same shards wherever the text lies, and --force without a change trains again", () =>
  inFolder(async (folder) => {
    await partitionSmall(`${folder}/a`);
    await Deno.mkdir(`${folder}/elsewhere`);
    await Deno.copyFile((await smallRun()).docs, `${folder}/elsewhere/text.jsonl`);
    const moved = ["--input", `${folder}/elsewhere/../elsewhere/text.jsonl`, ...SMALL];
    await ok(taskHere("partition", ["--run", `${folder}/b`, ...moved]));
    for (
      const part of ["tokens/", "partitioner/", "partition/expert-00/", "partition/expert-01/"]
    ) {
      assertEquals(await hashes(`${folder}/b`, part), await hashes(`${folder}/a`, part), part);
    }
    const again = await ok(taskHere("partition", ["--run", `${folder}/b`, "--force"]));
    assertStringIncludes(again.err, "round  1 of");
    assertEquals(
      await hashes(`${folder}/b`, "partition/expert-00/"),
      await hashes(`${folder}/a`, "partition/expert-00/"),
    );
  }));
