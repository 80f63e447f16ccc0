import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { InputError, type TaskReference, type Text } from "../../../kernels/errors.ts";
import type { RunEvent } from "../../../pipeline/run/events.ts";
import { partition, runOneStage } from "../../../pipeline/stages/partition.ts";
import { planPartition } from "../../../pipeline/stages/plan.ts";
import { tokenizeResult } from "../../../pipeline/stages/tokenize.ts";
import { readManifest } from "../../../pipeline/run/manifest.ts";
import { gpu } from "../../kernels/support.ts";
import { hashes, inFolder, smallCorpus } from "../../tasks/support.ts";
import { SMALL_SETTINGS, withPartition } from "./support.ts";

Deno.test({
  name: "partition() sums up what it made, tells every stage, and makes nothing twice",
  ignore: gpu === null,
  fn: () =>
    withPartition(async (run, flags) => {
      const events: RunEvent[] = [];
      const summary = await partition({ run, sources: { flags }, gpu: gpu! }, {
        onEvent: (e) => events.push(e),
      });
      assertEquals(
        events.map((event) => event.type === "stage" ? event.state : event.type),
        Array(7).fill("up to date"),
      );
      const { trainSequences, tokenizer } = tokenizeResult((await readManifest(run, "tokenize"))!, run);
      assertEquals(summary.experts.map(({ sequences }) => sequences).reduce((a, b) => a + b), trainSequences);
      assertEquals([summary.rounds.length, summary.shares.length, summary.run], [3, 2, run]);
      assertMatch(tokenizer, /^[0-9a-f]{64}$/);
    }),
});

Deno.test({
  name:
    "runOneStage() makes what a partition makes, stage by stage and part by part, and names the stage that is missing",
  ignore: gpu === null,
  fn: () =>
    withPartition((made, flags) =>
      inFolder(async (folder) => {
        const run = `${folder}/run`;
        const one = (stage: string, more = {}) =>
          runOneStage({ run, stage, gpu: gpu!, sources: {}, ...more });
        await one("corpus", { sources: { flags } });
        await assertRejects(() => one("tokenize"), InputError, '"tokenizer" must have run there: it has not');
        for (const stage of ["tokenizer", "tokenize", "train-routers"]) await one(stage);
        assertEquals((await one("score", { part: { index: 2, of: 2 } })).closed, false);
        await assertRejects(() => one("assign"), InputError, "shards are scored so far");
        const part = await one("score", { part: { index: 1, of: 2 } });
        assertEquals(part.scored, part.shards);
        await assertRejects(() => one("assign"), InputError, "but it is not closed");
        for (const stage of ["score", "assign", "split"]) await one(stage);
        assertEquals(await hashes(run), await hashes(made));
        await assertRejects(() => one("no-such"), InputError, "its settings must need it");
      })
    ),
});

Deno.test("planPartition() says what would run, along the graph, and estimates it", () =>
  withPartition(async (run, flags) => {
    const actions = async (more: object, force = false) => {
      const plan = await planPartition({ run, sources: { flags: { ...flags, ...more } }, force });
      assertEquals(plan.seconds > 0, plan.stages.some(({ action }) => action === "would run"));
      return plan.stages.filter(({ action }) => action === "would run").map(({ stage }) => stage);
    };
    assertEquals(await actions({}), []);
    assertEquals(await actions({ method: "argmax" }, true), ["assign", "split"]);
    assertEquals(await actions({ rounds: 4 }, true), ["train-routers", "score", "assign", "split"]);
    assertEquals((await actions({}, true)).length, 7);
    await assertRejects(() => actions({ rounds: 4 }), InputError, "there it is 3");
    const manifest = `${run}/manifests/tokenize.json`;
    await Deno.truncate(manifest, (await Deno.stat(manifest)).size / 2 | 0);
    const { stages } = await planPartition({ run, sources: { flags } });
    const [corpus, tokenizer, tokenize, ...later] = stages.map(({ action }) => action);
    assertEquals([corpus, tokenizer, tokenize], ["up to date", "up to date", "damaged"]);
    assertEquals(new Set(later), new Set(["would run"]));
  }));

Deno.test("runOneStage() names a command for a changed setting that mends what it refuses", () =>
  withPartition(async (run) => {
    const changed = { run, sources: { flags: { prefix: 8 } }, force: true };
    const score = () => runOneStage({ ...changed, stage: "score" });
    const { remedy } = await assertRejects(score, InputError, "must have run with prefix 8: it ran with 16");
    const [, command] = remedy as Exclude<Text, string>;
    const { task, with: { run: where, force, ...flags } } = command as TaskReference;
    assertEquals([task, where, force, flags], ["train-routers", run, true, { prefix: 8 }]);
    await runOneStage({ run, stage: task, sources: { flags }, force: true });
    assertEquals((await score()).experts, 2);
  }));

Deno.test("partition() takes routers that exist, and learns none", () =>
  withPartition((made, { routers: _, ...flags }) =>
    inFolder(async (folder) => {
      await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus(20));
      const { experts: __, ...others } = SMALL_SETTINGS;
      const use = { ...others, input: [`${folder}/docs.jsonl`], routers: `${made}/partitioner` };
      const summary = await partition({ run: `${folder}/run`, sources: { flags: use } });
      assertEquals([summary.experts.length, summary.rounds], [flags.experts!, []]);
      assertEquals(await readManifest(`${folder}/run`, "train-routers"), null);
      const three = partition({ run: `${folder}/three`, sources: { flags: { ...use, experts: 3 } } });
      await assertRejects(() => three, InputError, "experts is 3, there are 2");
      await assertRejects(
        () => runOneStage({ run: `${folder}/run`, stage: "train-routers" }),
        InputError,
        "nothing is learned",
      );
    })
  ));
