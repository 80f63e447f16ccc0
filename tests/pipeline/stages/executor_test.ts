import { assertEquals, assertMatch, assertNotEquals, assertRejects } from "@std/assert";
import { InputError, RunError } from "../../../kernels/errors.ts";
import { exists, filesUnder, writeAtomic } from "../../../pipeline/run/files.ts";
import {
  type Manifest,
  manifestPath,
  manifestStamp,
  PAGES,
  writePages,
} from "../../../pipeline/run/manifest.ts";
import type { RunEvent } from "../../../pipeline/run/events.ts";
import { lockRun } from "../../../pipeline/run/lock.ts";
import { inRun } from "../../../pipeline/stages/session.ts";
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

Deno.test("runStage() calls what removes things that are not needed any more once the manifest vouches for the stage", async () => {
  const { prepare, ...toy } = toyStage("first");
  const seen: boolean[] = [];
  const stage = toyStage("first", {
    ...toy,
    prepare: async (work, identity, before) => {
      const make = await prepare(work, identity, before);
      const afterwards = async () => void seen.push(await exists(manifestPath(work.run, "first")));
      return async () => ({ ...await make(), afterwards });
    },
  });
  await withStages([stage], async (run) => {
    await runAll(run);
    await runAll(run);
    assertEquals(seen, [true]);
  });
});

Deno.test("what parts left stays until the manifest vouches for the stage, and then goes", () => {
  let fails = true;
  const stage = toyStage("first", {
    makes: /^first\/\d+\.txt$|^manifests\/first\/\d+\.json$/,
    ofParts: /^first\/1\.txt$|^manifests\/first\/1\.json$/,
  });
  const { prepare } = stage;
  const left = ["first/1.txt", "first/2.txt", "first/mine.txt", "manifests/first/1.json"];
  stage.prepare = (work, identity, before) => async () => {
    const made = await (await prepare(work, identity, before))();
    for (const path of left) await writeAtomic(`${work.run}/${path}`, "part");
    if (fails) await Deno.mkdir(manifestPath(work.run, "first")); // so that no manifest can be written
    return made;
  };
  return withStages([stage], async (run) => {
    const there = () => Promise.all(left.map((path) => exists(`${run}/${path}`)));
    await assertRejects(() => runAll(run));
    assertEquals(await there(), [true, false, true, true]);
    fails = false;
    await Deno.remove(manifestPath(run, "first"));
    await runAll(run);
    assertEquals(await there(), [false, false, true, false]);
  });
});

Deno.test("a damaged manifest of pages stops no stage, and a check removes it, with a word", () =>
  withStages([toyStage("first"), toyStage("second", { needs: ["first"] })], async (run) => {
    await runAll(run);
    await writePages(run, "report", { "report.html": "page" });
    await writePages(run, "reproduce", { "reproduction.json": "page", "reproduction.md": "page" });
    for (const name of Object.keys(PAGES)) await Deno.writeTextFile(manifestPath(run, name), '{"cut');
    assertEquals(await runAll(run), ["first up to date", "second up to date"]);
    assertEquals(await runAll(run, { force: true }), ["first done", "second done"]);
    const told = await runAll(run, { check: true });
    assertEquals(told.slice(2), ["first up to date", "second up to date"]);
    for (const [i, [name, pages]] of Object.entries<readonly string[]>(PAGES).entries()) {
      assertMatch(
        told[i],
        new RegExp(`^Cannot read "${manifestPath(run, name)}" as .*; task "${name}" .*again$`),
      );
      assertEquals(await exists(manifestPath(run, name)), false);
      for (const page of pages) assertEquals(await Deno.readTextFile(`${run}/${page}`), "page");
    }
  }));

Deno.test("runStage() removes what it once made and no longer makes, and leaves and mentions the rest", () => {
  let names = ["old/a.txt", "b.txt"];
  const stage = toyStage("first", { makes: /^first\/\d+\.txt$/ });
  stage.prepare = ({ run }) => async () => {
    const outputs: Manifest["outputs"] = {};
    for (const name of names) outputs[`first/${name}`] = await writeAtomic(`${run}/first/${name}`, name);
    return { outputs, result: {} };
  };
  return withStages([stage], async (run) => {
    await runAll(run);
    for (const name of ["mine.txt", "old/mine.txt", "7.txt", "8.txt.partial", "mine.txt.partial"]) {
      await Deno.writeTextFile(`${run}/first/${name}`, "mine");
    }
    names = ["b.txt"];
    const [told] = await runAll(run, { force: true });
    assertMatch(told, new RegExp(`^left "${run}/first/.*mine.txt.*" and 2 more: first did not make it$`));
    const left = (await Array.fromAsync(filesUnder(run, "first"))).sort();
    assertEquals(left, ["first/b.txt", "first/mine.txt", "first/mine.txt.partial", "first/old/mine.txt"]);
    assertEquals(await runAll(run), ["first up to date"]);
  });
});

Deno.test("runStage() refuses to make a stage in a folder that is a link, and touches nothing there", () =>
  withStages([toyStage("first")], async (run) => {
    await runAll(run);
    await Deno.rename(`${run}/first`, `${run}/elsewhere`);
    await Deno.symlink(`${run}/elsewhere`, `${run}/first`);
    await Deno.writeTextFile(`${run}/elsewhere/first.txt`, "mine");
    await assertRejects(() => runAll(run, { force: true }), InputError, "it is a symbolic link");
    assertEquals(await Deno.readTextFile(`${run}/elsewhere/first.txt`), "mine");
  }));

Deno.test("runStage() leaves no manifest where its work fails, and says who makes the same", async () => {
  let fails = true;
  const stage = toyStage("first");
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
    const release = await lockRun(run, "first", "someone");
    await runAll(run); // what is up to date is in nobody's way
    await assertRejects(() => runAll(run, { force: true }), RunError, 'for task "someone"');
    await release();
  });
});

Deno.test("runStage() with force takes as made what another process has made since, of the same key alone", () =>
  withStages([toyStage("first", { settings: ["seed"] })], async (run) => {
    await runAll(run);
    const stamp = await manifestStamp(run, "first");
    const again = async (since: string | null | undefined, seed = 0) => {
      const told: string[] = [];
      const onEvent = (event: RunEvent) => {
        if (event.type === "stage" && event.state !== "started") told.push(event.state);
      };
      const options = { run, force: true, sources: { flags: { seed } } };
      await inRun(options, { onEvent }, { task: "partition" }, async ({ states, run }) => {
        await run(states.graph.get("first")!, { since });
      });
      return told;
    };
    assertEquals(await again(stamp), ["done"]);
    const later = await manifestStamp(run, "first");
    assertNotEquals(later, stamp);
    assertEquals(await again(stamp), ["up to date"]);
    assertEquals(await again(null), ["up to date"]);
    assertEquals(await manifestStamp(run, "first"), later);
    assertEquals(await again(undefined), ["done"]);
    assertEquals(await again(stamp, 1), ["done"]); // it was made of another seed
    await Deno.remove(`${run}/first/first.txt`);
    assertEquals(await again(stamp, 1), ["done"]); // what is there no longer is not made
  }));

Deno.test("runPart() leaves a stage alone that another process closed while it waited", () =>
  withStages([toyStage("first", { part: () => Promise.resolve({ made: 1 }) })], async (run) => {
    const part = () =>
      inRun(
        { run },
        {},
        { task: "first", beside: "parts" },
        ({ states, part }) => part(states.graph.get("first")!, { index: 1, of: 2 }),
      );
    await runAll(run);
    const manifest = await Deno.readTextFile(manifestPath(run, "first"));
    await Deno.remove(manifestPath(run, "first"));
    const closing = await lockRun(run, "first", "closing");
    const made = part();
    await new Promise((done) => setTimeout(done, 250));
    await writeAtomic(manifestPath(run, "first"), manifest);
    await closing();
    assertEquals(await made, { runs: 1, closed: true });
    assertEquals(await Deno.readTextFile(manifestPath(run, "first")), manifest);
  }));
