import {
  assert,
  assertEquals,
  assertFalse,
  assertGreater,
  assertMatch,
  assertNotEquals,
  assertStringIncludes,
} from "@std/assert";
import { exists } from "../pipeline/run/files.ts";
import {
  hashes,
  inFolder,
  SMALL,
  smallCorpus,
  smallRun,
  smallRunAt,
  task,
  taskCommand,
} from "./tasks/support.ts";

/** Partitions the same text into `run`. */
async function partitionSmall(run: string, more: string[] = []): Promise<{ out: string; err: string }> {
  const { docs } = await smallRun();
  if (more.length === 0 && !await exists(run)) return await smallRunAt(run);
  const outcome = await task("partition", ["--run", run, "--input", docs, ...SMALL, ...more]);
  assertEquals(outcome.code, 0, outcome.err);
  return outcome;
}

/** Names the stages that ran, from what a task reported. */
const ran = (err: string): string[] => [...err.matchAll(/^\S+Z (\S+) +done/gm)].map(([, stage]) => stage);

Deno.test("partition sends two kinds of text to different experts and reports so", () =>
  inFolder(async (folder) => {
    const { out } = await partitionSmall(`${folder}/run`, ["--json", "--rounds", "6"]);
    const summary = JSON.parse(out);
    assertGreater(summary.nmi, 0.5);
    assertEquals(summary.rounds.length, 6);
    const [a, b] = summary.experts;
    assert(Math.abs(a.sequences - b.sequences) <= 1);
  }));

Deno.test("a partition of text without sources reports so, and gives no mutual information with them", () =>
  inFolder(async (folder) => {
    const run = `${folder}/run`;
    const { out, err } = await partitionSmall(run, ["--source-field", ""]);
    assertMatch(out, /^NMI with source {2}none, as the text has no two sources; --source-field names/m);
    assertFalse(/NMI +\d/.test(out + err), out + err);
    const summary = JSON.parse((await partitionSmall(run, ["--source-field", "", "--json"])).out);
    assertEquals(
      [summary.nmi, ...summary.rounds.map(({ nmi }: { nmi: number }) => nmi)],
      Array(4).fill(null),
    );
    const report = await task("report", ["--run", run]);
    assertEquals(report.code, 0, report.err);
    const page = await Deno.readTextFile(`${run}/report.html`);
    assertStringIncludes(page, "no two sources");
    assertFalse(page.includes("NMI"));
  }));

Deno.test("partition gives the same bytes in a second run folder, in one process or one per stage", () =>
  inFolder(async (folder) => {
    await partitionSmall(`${folder}/a`);
    const expected = await hashes(`${folder}/a`);
    const stages = ["corpus", "tokenizer", "tokenize", "train-routers", "score", "assign", "split"];
    for (const stage of stages) {
      const outcome = await task(stage, [
        "--run",
        `${folder}/b`,
        ...(stage === "corpus" ? ["--config", `${folder}/a/config.json`] : []),
      ]);
      assertEquals(outcome.code, 0, outcome.err);
    }
    assertEquals(await hashes(`${folder}/b`), expected);
  }));

Deno.test("partition skips what is up to date, and a changed flag reruns what depends on it and nothing else", () =>
  inFolder(async (folder) => {
    const run = `${folder}/run`;
    await partitionSmall(run);
    assertEquals(ran((await partitionSmall(run)).err), []);

    const refused = await task("partition", ["--run", run, "--method", "argmax"]);
    assertEquals(refused.code, 2);
    assertStringIncludes(refused.err, 'it is "argmax", there it is "balanced"');

    const forced = async (...flags: string[]) => {
      const { code, err } = await task("partition", ["--run", run, "--force", ...flags]);
      assertEquals(code, 0, err);
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
      ran((await task("partition", ["--run", run])).err),
      ["score"],
      "what is missing is made again",
    );
  }));

Deno.test("partition with more rounds comes to the bytes of a run that had as many at once", () =>
  inFolder(async (folder) => {
    await partitionSmall(`${folder}/a`, ["--rounds", "5"]);
    await partitionSmall(`${folder}/b`);
    const more = await task("partition", ["--run", `${folder}/b`, "--rounds", "5", "--force"]);
    assertEquals(more.code, 0, more.err);
    assertEquals(await hashes(`${folder}/b`), await hashes(`${folder}/a`));
  }));

Deno.test("partition --routers partitions new text with routers that exist", () =>
  inFolder(async (folder) => {
    await partitionSmall(`${folder}/a`);
    await Deno.writeTextFile(`${folder}/new.jsonl`, smallCorpus(20, 90));
    const flags = [
      "--run",
      `${folder}/b`,
      "--routers",
      `${folder}/a/partitioner`,
      "--input",
      `${folder}/new.jsonl`,
    ];
    const shape = ["--sequence-length", "32", "--prefix", "8", "--source-field", "source", "--json"];
    const { code, out, err } = await task("partition", [...flags, ...shape]);
    assertEquals(code, 0, err);
    assert(!ran(err).includes("train-routers"));
    const summary = JSON.parse(out);
    assertEquals([summary.experts.length, summary.rounds.length], [2, 0]);
    const other = await task("partition", [...flags.with(1, `${folder}/c`), ...shape, "--experts", "3"]);
    assertEquals(other.code, 2);
    assertStringIncludes(other.err, "experts is 3, there are 2");
  }));

Deno.test("score --part shares the work of several processes, with the same result", () =>
  inFolder(async (folder) => {
    await partitionSmall(`${folder}/a`);
    const expected = await hashes(`${folder}/a`);
    await Deno.remove(`${folder}/a/scores`, { recursive: true });
    const parts = await Promise.all(
      ["1/2", "2/2"].map((part) => task("score", ["--run", `${folder}/a`, "--part", part])),
    );
    for (const { code, err } of parts) assertEquals(code, 0, err);
    const { err } = await task("partition", ["--run", `${folder}/a`]);
    assertEquals(err.includes("adapter"), false, "nothing is left to score");
    assertEquals(await hashes(`${folder}/a`), expected);
  }));

Deno.test("partition reads standard input, and a run of it resumes without", () =>
  inFolder(async (folder) => {
    const flags = ["--run", `${folder}/run`, "--input", "-", "--format", "jsonl", ...SMALL];
    const first = await task("partition", flags, { input: smallCorpus() });
    assertEquals(first.code, 0, first.err);
    await Deno.remove(`${folder}/run/partition`, { recursive: true });
    const second = await task("partition", ["--run", `${folder}/run`]);
    assertEquals(second.code, 0, second.err);
    assertEquals(ran(second.err), ["split"]);
  }));

Deno.test("a second process in a run folder shares the work, and both end in the same partition", () =>
  inFolder(async (folder) => {
    await partitionSmall(`${folder}/a`);
    const flags = ["--run", `${folder}/b`, "--input", (await smallRun()).docs, ...SMALL, "--json"];
    const both = await Promise.all([task("partition", flags), task("partition", flags)]);
    for (const { code, err } of both) assertEquals(code, 0, err);
    const [one, two] = both.map(({ out }) => JSON.parse(out).sha256);
    assertEquals(one, two);
    assertEquals(await hashes(`${folder}/b`), await hashes(`${folder}/a`));
  }));

Deno.test("train-routers --part trains a share of the routers, killed or not, to the bytes of one process", () =>
  inFolder(async (folder) => {
    await partitionSmall(`${folder}/a`);
    await partitionSmall(`${folder}/b`);
    for (const made of ["partitioner", "rounds"]) {
      await Deno.remove(`${folder}/b/${made}`, { recursive: true });
    }
    const run = ["--run", `${folder}/b`];
    const killed = taskCommand("train-routers", [...run, "--part", "2/2"]).spawn();
    while (!await Deno.stat(`${folder}/b/rounds/01`).catch(() => null)) {
      await new Promise((done) => setTimeout(done, 20));
    }
    killed.kill("SIGKILL");
    await killed.output();
    const parts = await Promise.all(
      ["--part", "--group"].map((flag, i) => task("train-routers", [...run, flag, `${i + 1}/2`])),
    );
    for (const { code, err } of parts) assertEquals(code, 0, err);
    assertMatch(
      parts[0].out,
      /part 1\/2 of train-routers is complete, with \d of 7 of its folders made: deno task/,
    );
    assertEquals((await task("partition", run)).code, 0);
    assertEquals(await hashes(`${folder}/b`), await hashes(`${folder}/a`));
    const wrong = await task("train-routers", [...run, "--part", "3/2"]);
    assertEquals(wrong.code, 2);
    assertStringIncludes(wrong.err, "--part must be I/N with 1 <= I <= N");
  }));

Deno.test("partition --dry-run writes nothing and tells what would run", () =>
  inFolder(async (folder) => {
    const { code, out } = await task("partition", ["--run", `${folder}/run`, "--dry-run", "--json"]);
    assertEquals(code, 0);
    const plan = JSON.parse(out);
    assertEquals(plan.stages.length, 7);
    assertGreater(plan.seconds, 1);
    assertEquals([...Deno.readDirSync(folder)], []);
    await partitionSmall(`${folder}/run`);
    const after = JSON.parse(
      (await task("partition", ["--run", `${folder}/run`, "--dry-run", "--json"])).out,
    );
    assertEquals(
      new Set(after.stages.map(({ action }: { action: string }) => action)),
      new Set(["up to date"]),
    );
    const changed = ["--run", `${folder}/run`, "--dry-run", "--json", "--force", "--method", "argmax"];
    const actions = JSON.parse((await task("partition", changed)).out).stages.map((
      { action }: { action: string },
    ) => action);
    assertEquals(actions.slice(3), ["up to date", "would run", "would run"]);
    assertNotEquals(after.run, undefined);
  }));

Deno.test("partition gives the same shards wherever the text lies, and --force without a change trains again", () =>
  inFolder(async (folder) => {
    await partitionSmall(`${folder}/a`);
    await Deno.mkdir(`${folder}/elsewhere`);
    await Deno.copyFile((await smallRun()).docs, `${folder}/elsewhere/text.jsonl`);
    const moved = [
      "--run",
      `${folder}/b`,
      "--input",
      `${folder}/elsewhere/../elsewhere/text.jsonl`,
      ...SMALL,
    ];
    assertEquals((await task("partition", moved)).code, 0);
    for (const part of ["tokens/", "partitioner/", "partition/expert-00/", "partition/expert-01/"]) {
      assertEquals(await hashes(`${folder}/b`, part), await hashes(`${folder}/a`, part), part);
    }
    const again = await task("partition", ["--run", `${folder}/b`, "--force"]);
    assertEquals(again.code, 0, again.err);
    assertStringIncludes(again.err, "round  1 of");
    assertEquals(
      await hashes(`${folder}/b`, "partition/expert-00/"),
      await hashes(`${folder}/a`, "partition/expert-00/"),
    );
  }));

Deno.test("a stage makes what it needs where that is missing or changed, and settings of another stage are refused", () =>
  inFolder(async (folder) => {
    const run = `${folder}/run`;
    await partitionSmall(run);
    const prefix = await task("score", ["--run", run, "--prefix", "8"]);
    assertEquals(prefix.code, 2, prefix.err);
    assertStringIncludes(prefix.err, "prefix");
    assertEquals((await task("train-routers", ["--run", run, "--router-rate", "0.02", "--force"])).code, 0);
    assertEquals(ran((await task("assign", ["--run", run])).err), ["score", "assign"]);
    assertEquals(ran((await task("split", ["--run", run])).err), ["split"]);
    assertEquals((await task("verify", [run])).code, 0);
    assertEquals(ran((await task("score", ["--run", run, "--force"])).err), ["score"]);
  }));
