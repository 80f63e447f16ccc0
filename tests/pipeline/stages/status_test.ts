import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { lockRun } from "../../../pipeline/run/lock.ts";
import type { Stage } from "../../../pipeline/stages/stage.ts";
import { lacksOf, nextOf, type RunStatus, stagesText, statusOf } from "../../../pipeline/stages/status.ts";
import { statusText } from "../../../tasks/status_text.ts";
import { writeAtomic } from "../../../pipeline/run/files.ts";
import { worded } from "../../../tasks/wording.ts";
import { inFolder, task } from "../../tasks/support.ts";
import { runAll, toyStage, withStages } from "./support.ts";

Deno.test("statusOf() tells what is made, with which settings and revision, what is not, and what makes it", async () => {
  const stages = [
    toyStage("first", { settings: ["seed"] }),
    toyStage("second", {
      needs: ["first"],
      onRequest: true,
      command: { task: "seconds", with: { expert: 1 } },
    }),
  ];
  await withStages(stages, async (run) => {
    await runAll(run, { sources: { flags: { seed: 2 } } });
    const [first, second] = (await statusOf(run)).stages;
    assertEquals([first.state, first.settings, first.revision], ["up to date", { seed: 2 }, {
      made: 1,
      now: 1,
    }]);
    assertEquals([first.outputs?.files, first.partition, first.holders], [1, true, []]);
    assertEquals([second.state, second.settings, second.partition], ["missing", undefined, false]);
    assertEquals(second.command, { task: "seconds", with: { run, expert: 1 } });
    stages[0].revision = 2;
    const [old] = (await statusOf(run)).stages;
    assertEquals([old.state, old.because], ["out of date", "revision 1 made it, this is revision 2"]);
  });
});

Deno.test("statusOf() names who works in a run, and at what", async () => {
  const stages = [toyStage("first"), toyStage("second")];
  await withStages(stages, async (run) => {
    await runAll(run);
    const releases = [
      await lockRun(run, "first", "one", { makes: "first" }),
      await lockRun(run, "second", "two", { makes: "second" }),
    ];
    const { holders, stages: [first, second] } = await statusOf(run);
    assertEquals(holders.map(({ pid }) => pid), [Deno.pid]);
    assertEquals([first.state, second.state, second.holders[0].task], ["being made", "being made", "two"]);
    for (const release of releases) await release();
    assertEquals((await statusOf(run)).stages.map(({ state }) => state), ["up to date", "up to date"]);
  });
});

Deno.test("statusOf() names all that share a stage's work", () =>
  withStages([toyStage("first")], async (run) => {
    await runAll(run);
    const claim = { pid: 1, host: "far", since: "2026", task: "score", id: "7", machine: "far/", beat: 0 };
    await Deno.mkdir(`${run}/locks`);
    await Deno.writeTextFile(
      `${run}/locks/first~part-7.json`,
      JSON.stringify({ ...claim, stage: { name: "first", since: "2026" } }),
    );
    const release = await lockRun(run, "first", "score", { mode: "part", makes: "first" });
    const { holders, stages: [first] } = await statusOf(run);
    assertEquals([first.state, first.holders.length, holders.length], ["being made", 2, 2]);
    await release();
    await Deno.remove(`${run}/locks`, { recursive: true });
    assertEquals((await statusOf(run)).holders, []);
  }));

Deno.test("statusOf() says which stage a partition makes, by which process and since when", async () => {
  const seen: RunStatus[] = [];
  const looking = (stage: Stage): Stage => ({
    ...stage,
    prepare: async (...of) => {
      const make = await stage.prepare(...of);
      return async () => {
        seen.push(await statusOf(of[0].run));
        return await make();
      };
    },
  });
  await withStages([looking(toyStage("first")), looking(toyStage("second"))], async (run) => {
    const start = new Date().toISOString();
    await runAll(run);
    assertEquals(seen.map(({ stages }) => stages.map(({ state }) => state)), [
      ["being made", "missing"],
      ["up to date", "being made"],
    ]);
    const [, { stages: [, { holders: [{ pid, task, stage }] }] }] = seen;
    assertEquals([pid, task, stage!.name], [Deno.pid, "partition", "second"]);
    assert(stage!.since >= start && stage!.since <= new Date().toISOString());
    assertStringIncludes(statusText(seen[1]), `process ${pid}`);
    assertStringIncludes(statusText(seen[1]), `(task partition, since ${stage!.since})`);
  });
});

Deno.test("statusOf() refuses a folder that is no run", async () => {
  const folder = await Deno.makeTempDir();
  await assertRejects(() => statusOf(folder), InputError, "there is no config.json");
  await Deno.remove(folder);
});

Deno.test("statusText() does not ask for what a run is complete without", () =>
  withStages([
    toyStage("first"),
    toyStage("choice", { needs: ["first"], onRequest: true, optional: true }),
    toyStage("last", { needs: ["first"], onRequest: true }),
  ], async (run) => {
    await runAll(run);
    const status = await statusOf(run);
    assertEquals(status.stages.map(({ optional }) => optional), [false, true, false]);
    assertStringIncludes(statusText(status), `next: deno task last --run ${run}`);
  }));

Deno.test("statusText() gives models that stand alike one row, and says what to run next", async () => {
  const models = [0, 1, 2].map((expert) =>
    toyStage(`train-expert-0${expert}`, {
      needs: ["first"],
      onRequest: true,
      command: { task: "train-expert", with: { expert } },
    })
  );
  await withStages([toyStage("first", { settings: ["seed"] }), ...models], async (run) => {
    await runAll(run, { sources: { flags: { seed: 7 } } });
    const text = statusText(await statusOf(run));
    assertMatch(text, /^first +up to date +1 +\d+ B$/m);
    assertMatch(text, /^train-expert-00 … 02 \(3\) +missing$/m);
    assertStringIncludes(text, "first  seed 7");
    assertStringIncludes(text, `next: deno task train-expert --run ${run} --expert all`);
  });
});

Deno.test("what a training would refuse to replace is forced, and no call for all experts replaces what is up to date", async () => {
  const models = [0, 1, 2].map((expert) =>
    toyStage(`train-expert-0${expert}`, {
      ...{ needs: ["first"], guards: true, command: { task: "train-expert", with: { expert } } },
    })
  );
  await withStages([toyStage("first"), ...models], async (run) => {
    await runAll(run);
    const told = async () => {
      const { stages } = await statusOf(run);
      const lacks = lacksOf(stages).map((lack) => [stagesText(lack), worded([lack.command])]);
      assertEquals(nextOf(stages) && worded([nextOf(stages)!]), lacks[0]?.[1]); // status and others agree
      return lacks;
    };
    const call = (expert: number | "all", more = "") =>
      `deno task train-expert --run ${run} --expert ${expert}${more}`;
    assertEquals(await told(), []);
    models[1].revision = models[2].revision = 2;
    assertEquals(await told(), [
      ["train-expert-01", call(1, " --force")],
      ["train-expert-02", call(2, " --force")],
    ]);
    models[0].revision = 2;
    assertEquals(await told(), [["train-expert-00 and 2 more", call("all", " --force")]]);
    await Deno.remove(`${run}/manifests/train-expert-00.json`);
    await Deno.remove(`${run}/manifests/train-expert-01.json`);
    assertEquals(await told(), [
      ["train-expert-00", call(0)],
      ["train-expert-01", call(1)],
      ["train-expert-02", call(2, " --force")],
    ]);
    await Deno.remove(`${run}/manifests/train-expert-02.json`);
    assertEquals(await told(), [["train-expert-00 and 2 more", call("all")]]);
  });
});

Deno.test("statusOf() tells of parts that lie alone their experts' trainings, and of nothing that cannot be made there", () =>
  inFolder(async (run) => {
    await writeAtomic(`${run}/config.json`, '{"configuration": {}, "versions": {}}');
    await writeAtomic(`${run}/partition/expert-02/manifest.json`, "{}");
    const status = await statusOf(run);
    assertEquals(status.stages.map(({ stage }) => stage), ["train-expert-02"]);
    assertEquals(statusText(status).split("\n"), [
      `run  ${run}`,
      "only the part of expert 2 lies here, without the run that it comes from",
      "",
      "stage              state  files  size",
      "train-expert-02  missing",
      "",
      `next: deno task train-expert --run ${run} --expert 2`,
    ]);
    const made = status.stages.map((stage) => ({ ...stage, state: "up to date" as const }));
    assertMatch(
      statusText({ ...status, stages: made }),
      /\nnothing is missing here: go on in the whole run$/,
    );
    await writeAtomic(`${run}/partition/expert-03/manifest.json`, "{}");
    assertMatch(statusText(await statusOf(run)), /^only the parts of experts 2, 3 lie here, without/m);
  }));

Deno.test("deno task status prints a table or one JSON document, and one line where it cannot", async () => {
  await withStages([toyStage("corpus")], async (run) => {
    await runAll(run);
    const json = await task("status", ["--run", run, "--json"]);
    assertEquals(json.code, 0, json.err);
    const { stages } = JSON.parse(json.out);
    assertEquals([stages[0].stage, stages[0].command], ["corpus", `deno task corpus --run ${run}`]);
    const table = await task("status", ["--run", run]);
    assertMatch(table.out, /^tokenize +missing/m);
    const manifest = `${run}/manifests/corpus.json`;
    await Deno.truncate(manifest, 40);
    const cut = await task("status", ["--run", run]);
    assertEquals(cut.code, 0, cut.err);
    assertMatch(cut.out, /^corpus +damaged .*corpus\.json.*; remove it to run the stage again$/m);
    assertMatch(cut.out, /^tokenize +missing/m);
    const none = await task("status", ["--run", `${run}/none`]);
    assertEquals(none.code, 2);
    assertMatch(
      none.err,
      /^error: Cannot tell the status [^\n]*run deno task partition --run [^\n]* first\n$/,
    );
  });
});

Deno.test("statusOf() asks for one model to compare a mixture with: the first, unless another one is made", () =>
  inFolder(async (run) => {
    await writeAtomic(`${run}/config.json`, '{"configuration": {}, "versions": {}}');
    const wanted = async () =>
      (await statusOf(run)).stages.filter(({ stage, optional }) =>
        /^train-(dense|switch)/.test(stage) && !optional
      ).map(({ stage }) => stage);
    assertEquals(await wanted(), ["train-dense"]);
    await writeAtomic(`${run}/manifests/train-dense-steps.json`, "{}");
    assertEquals(await wanted(), ["train-dense-steps"]);
  }));
