import { assertEquals, assertRejects } from "@std/assert";
import { RunError } from "../../../kernels/errors.ts";
import { exists } from "../../../pipeline/run/files.ts";
import { lockRun } from "../../../pipeline/run/lock.ts";
import { runAll, toyStage, withStages } from "./support.ts";

Deno.test("runStage() runs what changed and what depends on it, and nothing else", async () => {
  const stages = [
    toyStage("first", { settings: ["seed"] }),
    toyStage("second", { needs: ["first"] }),
    toyStage("other", { settings: ["prefix"] }),
  ];
  await withStages(stages, async (run) => {
    assertEquals(await runAll(run), ["first done", "second done", "other done"]);
    assertEquals(await runAll(run), ["first up to date", "second up to date", "other up to date"]);
    const changed = { sources: { flags: { seed: 1 } }, force: true };
    assertEquals(await runAll(run, changed), ["first done", "second done", "other up to date"]);
    await Deno.remove(`${run}/other/other.txt`);
    assertEquals(await runAll(run), ["first up to date", "second up to date", "other done"]);
    assertEquals((await runAll(run, { force: true })).filter((line) => line.endsWith("done")).length, 3);
  });
});

Deno.test("runStage() says that another revision made it, and makes it again", async () => {
  const stage = toyStage("first");
  await withStages([stage], async (run) => {
    await runAll(run);
    stage.revision = 2;
    const warning = "first was made by revision 1; this is revision 2";
    assertEquals(await runAll(run), [warning, "first done"]);
    assertEquals(await runAll(run), ["first up to date"]);
  });
});

Deno.test("runStage() removes what lies in a stage's folder and is none of its outputs, once it is made", () =>
  withStages([toyStage("first")], async (run) => {
    await runAll(run);
    await Deno.mkdir(`${run}/first/old`);
    await Deno.writeTextFile(`${run}/first/old/a.txt`, "");
    await runAll(run, { force: true });
    assertEquals([await exists(`${run}/first/old`), await exists(`${run}/first/first.txt`)], [false, true]);
  }));

Deno.test("runStage() leaves no manifest where its work fails, and says who holds a stage's folder", async () => {
  let fails = true;
  const stage = toyStage("first", { place: "first" });
  const { prepare } = stage;
  stage.prepare = (work, identity, before) => async () => {
    if (fails) throw new RunError("Cannot go on as the test says so");
    return await (await prepare(work, identity, before))();
  };
  await withStages([stage], async (run) => {
    await assertRejects(() => runAll(run), RunError, "the test says so");
    assertEquals(await exists(`${run}/manifests/first.json`), false);
    fails = false;
    await runAll(run);
    const release = await lockRun(`${run}/first`, "someone");
    await assertRejects(() => runAll(run), RunError, 'for task "someone"');
    await release();
  });
});
