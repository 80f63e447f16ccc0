import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { hashes } from "../../tasks/support.ts";
import type { RunEvent } from "../../../pipeline/run/events.ts";
import { readTimes } from "../../../pipeline/run/timing.ts";
import { partition } from "../../../pipeline/stages/partition.ts";
import { statusOf } from "../../../pipeline/stages/status.ts";
import { trainDense } from "../../../pipeline/stages/train.ts";
import { gpu } from "../../kernels/support.ts";
import { runAll, toyStage, withPartition, withStages } from "./support.ts";

const STAGE_FILE = "first/first.txt";

Deno.test("a stage that another run made of the same inputs is copied, and made where settings differ", async () => {
  const first = toyStage("first", { settings: ["seed"] });
  const second = toyStage("second", { needs: ["first"], settings: ["prefix"] });
  await withStages([first, second], async (run) => {
    const [one, two] = [`${run}/one`, `${run}/two`];
    await runAll(one);
    assertEquals(await runAll(two, { reuse: [one] }), ["first done", "second done"]);
    assertEquals([first.runs, second.runs], [1, 1]); // neither was made twice
    const copied = async (run: string) => (await readTimes(run)).map(({ stage, copied }) => [stage, copied]);
    assertEquals(await copied(one), [["first", undefined], ["second", undefined]]);
    assertEquals(await copied(two), [["first", true], ["second", true]]);
    const [a, b] = [await hashes(one), await hashes(two)];
    assertEquals(b, a);
    assertEquals(await runAll(two), ["first up to date", "second up to date"]);

    await assertRejects(
      () => runAll(two, { reuse: [`${run}/none`] }),
      InputError,
      "must name runs: there is none",
    );

    const changed = { sources: { flags: { prefix: 8 } }, reuse: [one] };
    await runAll(`${run}/three`, changed);
    assertEquals([first.runs, second.runs], [1, 2]); // the second depends on the prefix
    assertEquals(await runAll(`${run}/three`, { ...changed, force: true }), ["first done", "second done"]);
    assertEquals([first.runs, second.runs], [2, 3]); // what is forced is made
  });
});

Deno.test("a stage whose files are damaged in the other run is made, and nothing of it is copied", async () => {
  const stage = toyStage("first");
  await withStages([stage], async (run) => {
    const [one, two] = [`${run}/one`, `${run}/two`];
    await runAll(one);
    const text = await Deno.readTextFile(`${one}/${STAGE_FILE}`);
    await Deno.writeTextFile(`${one}/${STAGE_FILE}`, text.replace("]", "[")); // of the same size
    const told = await runAll(two, { reuse: [one] });
    assertStringIncludes(told[0], `Cannot read "${one}/${STAGE_FILE}" as it must be as it was made`);
    assertEquals(told.slice(1), ["first done"]);
    assertEquals((await readTimes(two)).map(({ copied }) => copied), [undefined]);
    assertEquals(await Deno.readTextFile(`${two}/${STAGE_FILE}`), text);
    await Deno.writeTextFile(`${one}/manifests/first.json`, "{");
    assertEquals(await runAll(`${run}/three`, { reuse: [one] }), ["first done"]);
    assertEquals(stage.runs, 3);
  });
});

Deno.test("a model that is copied brings the settings that it was trained with, and goes on as one that was trained here", () =>
  withPartition(async (one, flags) => {
    const training = { expertHidden: 8, expertLayers: 1, expertHeads: 2, expertBatch: 4, expertSteps: 4 };
    const sources = { flags: { ...training, denseRate: 0.004 } };
    const trained = await trainDense("batch", { run: one, gpu, sources });
    const two = `${one}-2`;
    const reuse = [one];
    await partition({ run: two, sources: { flags }, reuse });
    const events: string[] = [];
    const onEvent = (event: RunEvent) => {
      if (event.type === "progress") events.push(event.stage);
    };
    assertEquals(await trainDense("batch", { run: two, gpu, sources, reuse }, { onEvent }), trained);
    assertEquals(events, []); // nothing was trained
    assertEquals(await trainDense("batch", { run: two, gpu, sources: {} }), trained); // config.json knows the rate
    const { stages } = await statusOf(two);
    assertEquals(stages.find(({ stage }) => stage === "train-dense")?.state, "up to date");
    const other = { flags: { ...training, denseRate: 0.002 } };
    await assertRejects(() => trainDense("batch", { run: two, gpu, sources: other, reuse }), InputError);
  }));
