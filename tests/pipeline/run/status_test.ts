import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { wordText } from "../../../kernels/errors.ts";
import { readManifest, takeLock, writeManifest } from "../../../pipeline/graph/mod.ts";
import {
  listLacks,
  nextTasks,
  partition,
  readStatus,
  runOneStage,
  type RunOptions,
  type StageStatus,
  stagesText,
} from "../../../pipeline/run/mod.ts";
import { statusText } from "../../../tasks/status.ts";
import { worded } from "../../../tasks/cli/wording.ts";
import { inFolder, ok, task } from "../../tasks/support.ts";
import { smallFlags, writeTexts } from "./support.ts";

/** Runs a test with options of a run that needs no device, and its folder of text. */
async function inRun(
  body: (run: string, options: RunOptions, text: string) => Promise<void>,
): Promise<void> {
  await inFolder(async (folder) => {
    const [run, text] = [`${folder}/run`, `${folder}/text`];
    await writeTexts(text, 12);
    await body(run, { run, workers: 1, sources: { flags: smallFlags(text) } }, text);
  });
}

const PARTITION = ["tokenizer", "tokenize", "train-routers", "score", "assign", "split"];

const partitionOf = async (run: string) =>
  (await readStatus(run)).stages.filter(({ partition }) => partition);
const describeState = async (run: string, stage: string) =>
  (await readStatus(run)).stages.find((status) => status.stage === stage)!;

Deno.test("readStatus() tells what is made of a run, how much of it, with which settings, and what comes next", () =>
  inRun(async (run, options) => {
    await runOneStage({ ...options, stage: "tokenize", part: { index: 2, of: 3 } });
    const part = await describeState(run, "tokenize");
    assertEquals([part.state, part.because], [
      "missing",
      `${part.nodes - part.toMake} of ${part.nodes} are made`,
    ]);
    const { stages } = await partition(options);
    assertEquals(stages.map(({ stage }) => stage), PARTITION);
    const status = await readStatus(run);
    const made = status.stages.filter(({ state }) => state === "up to date");
    assertEquals(made.map(({ stage }) => stage), PARTITION);
    const tokenize = await describeState(run, "tokenize");
    assertEquals([tokenize.settings!.sequenceLength, tokenize.revision], [32, { made: 1, now: 1 }]);
    assert(tokenize.nodes > 3 && tokenize.outputs!.files === 3 * (tokenize.nodes - 2) + 4);
    assertEquals(status.text, { added: [], changed: [], removed: [] });
    const rest = listLacks(status.stages).map((lack) => `${stagesText(lack)} ${lack.state}`);
    assertEquals(rest, [
      "train-expert-00 and 1 more missing",
      "train-dense missing",
      "evaluate missing",
    ]);
    const next = "deno task train-expert --run " + run + " --expert all";
    assertEquals(worded([nextTasks(run, status.stages)[0]]), next);
    const whole = `all that is missing: deno task submit --run ${run} --executor local`;
    assertStringIncludes(statusText(status), `next: ${next}\n${whole}`);
    assertEquals(status.settings, options.sources!.flags as typeof status.settings);
    await Deno.remove(`${run}/scores`, { recursive: true });
    await Deno.remove(`${run}/tokens`, { recursive: true });
    const tasks = nextTasks(run, (await readStatus(run)).stages);
    assertEquals(worded([tasks[0]]), `deno task partition --run ${run}`);
  }));

Deno.test("a run is reported of where its text is not, and a part that lies alone by its expert's training", () =>
  inRun(async (run, options, text) => {
    await partition(options);
    await Deno.remove(text, { recursive: true });
    const status = await readStatus(run);
    assertStringIncludes(wordText(status.unseen!), "must exist");
    assertEquals(status.text, null);
    assertEquals(
      (await partitionOf(run)).map(({ state }) => state),
      PARTITION.map(() => "up to date"),
    );
    await Deno.remove(`${run}/scores`, { recursive: true });
    assertEquals((await describeState(run, "score")).state, "missing");
    const alone = `${run}-alone`;
    await Deno.mkdir(`${alone}/partition`, { recursive: true });
    for (const name of ["config.json", "tokenizer", "partition/expert-01"]) {
      await Deno.rename(`${run}/${name}`, `${alone}/${name}`);
    }
    const part = await readStatus(alone);
    assertEquals([part.parts, part.stages.map(({ stage }) => stage)], [[1], ["train-expert-01"]]);
    const lines = statusText(part).split("\n");
    assertEquals(
      lines[1],
      "only parts lie here, without the run that they come from: of experts 1",
    );
    assertEquals(lines.at(-1), `next: deno task train-expert --run ${alone} --expert 1`);
  }));

Deno.test("readStatus() reports who makes a stage, what is damaged, and what another version made", () =>
  inRun(async (run, options) => {
    await partition(options);
    const lock = await takeLock(run, "partition/expert-00", "partition");
    const { holders, stages } = await readStatus(run);
    const split = stages.find(({ stage }) => stage === "split")!;
    assertEquals([split.state, split.holders[0].task, holders.length], [
      "being made",
      "partition",
      1,
    ]);
    if ("release" in lock) lock.release();
    await Deno.truncate(`${run}/partition/expert-00/train-00000.arrow`, 9);
    const damaged = await describeState(run, "split");
    assertEquals([damaged.state, damaged.because], [
      "damaged",
      "expert-00-train-00000.arrow is damaged",
    ]);
    const { made: _, ...manifest } = (await readManifest(`${run}/partitioner`))!;
    await writeManifest(`${run}/partitioner`, { ...manifest, revision: 99, key: "of it" });
    const learned = await describeState(run, "train-routers");
    assertEquals([learned.state, learned.command.with.force], ["out of date", true]);
    assertMatch(wordText(learned.because!), /^revision 99 made it, this is revision \d$/);
    await writeManifest(`${run}/partitioner`, manifest);
    await Deno.truncate(`${run}/assignments/all/manifest.json`, 9);
    const assign = await describeState(run, "assign");
    assertEquals(assign.state, "damaged");
    assertMatch(wordText(assign.because!), /manifest\.json" as it must be the manifest/);
    const damagedOnes = async () =>
      (await readStatus(run)).stages.filter(({ state }) => state === "damaged").map(({ stage }) =>
        stage
      );
    assertEquals(await damagedOnes(), ["assign"]); // what follows waits
    await Deno.truncate(`${run}/partition/expert-01/manifest.json`, 9);
    assertEquals(await damagedOnes(), ["assign", "split"]); // unless it is damaged as well
    assertEquals((await describeState(run, "score")).state, "up to date");
  }));

Deno.test("no call for all experts replaces what is up to date", () => {
  const expert = (id: number, more: Partial<StageStatus>, force = false) =>
    ({
      stage: `train-expert-0${id}`,
      optional: false,
      partition: false,
      ...more,
      command: { task: "train-expert", with: { run: "r", expert: id, ...force ? { force } : {} } },
    }) as StageStatus;
  const reported = (...stages: StageStatus[]) =>
    listLacks(stages).map((lack) => [stagesText(lack), worded([lack.command])]);
  const call = (expert: number | "all", more = "") =>
    `deno task train-expert --run r --expert ${expert}${more}`;
  const [made, old, none] = [{ state: "up to date" }, { state: "out of date" }, {
    state: "missing",
  }] as const;
  assertEquals(reported(expert(0, made), expert(1, made)), []);
  assertEquals(reported(expert(0, made), expert(1, old, true), expert(2, old, true)), [
    ["train-expert-01", call(1, " --force")],
    ["train-expert-02", call(2, " --force")],
  ]);
  assertEquals(reported(expert(0, old, true), expert(1, old, true)), [
    ["train-expert-00 and 1 more", call("all", " --force")],
  ]);
  assertEquals(reported(expert(0, none), expert(1, none), expert(2, old, true)), [
    ["train-expert-00", call(0)],
    ["train-expert-01", call(1)],
    ["train-expert-02", call(2, " --force")],
  ]);
  assertEquals(reported(expert(0, none), expert(1, none), expert(2, made)), [
    ["train-expert-00 and 1 more", call("all")],
  ]);
});

Deno.test("deno task status prints a table or one JSON document, and ends with 1 where anything would run, if asked", () =>
  inRun(async (run, options, text) => {
    await partition(options);
    const json = await ok(task("status", ["--run", run, "--json", "--exit-code"]));
    const { stages } = JSON.parse(json.out);
    assertEquals([stages[0].stage, stages[0].command], [
      "tokenizer",
      `deno task tokenizer --run ${run}`,
    ]);
    await Deno.writeTextFile(`${text}/99.txt`, "a judge and a jury ".repeat(50));
    const changed = await task("status", ["--run", run, "--exit-code"]);
    assertEquals([changed.code, changed.err], [1, ""]);
    assertMatch(changed.out, /^tokenize +out of date/m);
    await ok(task("status", ["--run", run]));
    const none = await task("status", ["--run", `${run}/none`]);
    assertEquals(none.code, 2);
    assertMatch(
      none.err,
      /^error: Cannot work in [^\n]*run deno task partition --run [^\n]* first\n$/,
    );
  }));
