import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { InputError, RunError } from "../../../kernels/errors.ts";
import { exists } from "../../../pipeline/run/files.ts";
import { lockRun } from "../../../pipeline/run/lock.ts";
import { readRunConfiguration, writeRunConfiguration } from "../../../pipeline/run/configuration.ts";
import { type Configuration, defaultConfiguration } from "../../../pipeline/settings/configuration.ts";
import { gpu } from "../../kernels/support.ts";
import { inFolder } from "../../tasks/support.ts";
import { inRun } from "../../../pipeline/stages/session.ts";
import { needConfiguration, SETTINGS } from "../../../pipeline/stages/run_folder.ts";
import { runAll, toyStage, withStages } from "./support.ts";

const seedOf = async (run: string) => (await readRunConfiguration(run))?.configuration.seed;

Deno.test("inRun() keeps the values that something was made with, and takes others where it is told to", () =>
  withStages([toyStage("first", { settings: ["seed"] })], async (run) => {
    await runAll(run, { sources: { flags: { seed: 3 } } });
    assertEquals(await seedOf(run), 3);
    await runAll(run);
    assertEquals(await seedOf(run), 3);
    const other = { sources: { flags: { seed: 4 } } };
    await assertRejects(() => runAll(run, other), InputError, "it is 4, there it is 3; choose another run");
    assertEquals(await seedOf(run), 3);
    await runAll(run, { sources: { flags: { expertSteps: 9 } } }); // nothing was made with it
    assertEquals((await readRunConfiguration(run))?.configuration.expertSteps, 9);
    await runAll(run, { ...other, force: true });
    assertEquals(await seedOf(run), 4);
  }));

Deno.test({
  name: "inRun() opens one device for stages that ask for it side by side",
  ignore: gpu === null,
  fn: () =>
    withStages([toyStage("first")], async (run) => {
      await runAll(run);
      const kind = { task: "train-expert all", beside: "others" } as const;
      const [one, two] = await inRun({ run }, {}, kind, ({ work }) => Promise.all([work.gpu(), work.gpu()]));
      assertEquals(one === two, true);
    }),
});

Deno.test("inRun() forgets the values of a command that failed before anything was made with them", async () => {
  const stage = toyStage("first", { settings: ["seed"] });
  stage.prepare = () => () => Promise.reject(new InputError("Cannot make it as the test says so"));
  await withStages([stage], async (folder) => {
    const run = `${folder}/new`;
    await assertRejects(() => runAll(run, { sources: { flags: { seed: 5 } } }), InputError, "says so");
    assertEquals(await exists(run), false);
    await Deno.mkdir(run);
    await assertRejects(() => runAll(run, { sources: { flags: { seed: 5 } } }), InputError, "says so");
    assertEquals([await seedOf(run), await exists(run)], [undefined, true]);
  });
});

Deno.test("inRun() that fails removes nothing of a run whose config.json was removed", async () => {
  const stage = toyStage("first", { makes: /^first\/first\.txt$/ });
  const { prepare } = stage;
  await withStages([stage], async (run) => {
    await runAll(run);
    for (const fail of [{ adapter: "no such adapter" }, {}]) {
      await Deno.remove(`${run}/config.json`);
      stage.prepare = () => () => Promise.reject(new InputError("Cannot make it as the test says so"));
      await assertRejects(() => runAll(run, { force: true, ...fail }));
      assertEquals(await exists(`${run}/first/first.txt`), true);
      stage.prepare = prepare;
      await runAll(run);
    }
  });
});

Deno.test("inRun() with a check removes the damaged manifest of what it makes alone, and none of a newer version", async () => {
  await withStages([toyStage("first"), toyStage("second")], async (run) => {
    await runAll(run);
    const [first, second] = ["first", "second"].map((name) => `${run}/manifests/${name}.json`);
    const whole = await Deno.readTextFile(first);
    for (const path of [first, second]) await Deno.writeTextFile(path, "{");
    await inRun({ run, check: true }, {}, { task: "second" }, async () => {});
    assertEquals([await exists(first), await exists(second)], [true, false]);
    const newer = JSON.stringify({ ...JSON.parse(whole), format: 99 });
    await Deno.writeTextFile(first, newer);
    await assertRejects(() => runAll(run, { check: true }), InputError, "; use the version that wrote it");
    assertEquals(await Deno.readTextFile(first), newer);
    await Deno.writeTextFile(first, "{");
    await runAll(run, { check: true });
    assertEquals(JSON.parse(await Deno.readTextFile(first)).key, JSON.parse(whole).key);
  });
});

Deno.test("inRun() that fails removes nothing where config.json does not tell what was made", async () => {
  const [first, second] = [toyStage("first", { makes: /^first\/first\.txt$/ }), toyStage("second")];
  second.prepare = ({ run }) => async () => {
    await Deno.writeTextFile(`${run}/config.json`, "{");
    throw new InputError("Cannot make it as the test says so");
  };
  await withStages([first, second], async (run) => {
    await assertRejects(() => runAll(run), InputError, "says so");
    assertEquals(await exists(`${run}/first/first.txt`), true);
  });
});

Deno.test("inRun() that fails removes what it began in a folder that was empty", async () => {
  const stage = toyStage("first", { makes: /^first\/first\.txt$/ });
  stage.prepare = ({ run }) => async () => {
    await Deno.mkdir(`${run}/first`);
    await Deno.writeTextFile(`${run}/first/first.txt.partial`, "half of it");
    throw new InputError("Cannot make it as the test says so");
  };
  await withStages([stage], async (run) => {
    for (let i = 0; i < 2; i++) await assertRejects(() => runAll(run), InputError, "says so");
    assertEquals(await exists(`${run}/first/first.txt.partial`), false);
  });
});

Deno.test("inRun() refuses a kind and a method that there are not, before anything is written", () =>
  inFolder(async (folder) => {
    const wrong = [{ method: "zzz" }, { partitioner: "zzz" }];
    for (const flags of wrong) {
      const run = `${folder}/new`;
      await assertRejects(() => runAll(run, { sources: { flags }, force: true }), InputError, '"zzz"');
      assertEquals(await exists(run), false);
    }
    const run = `${folder}/run`;
    await Deno.mkdir(run);
    await writeRunConfiguration(run, defaultConfiguration());
    const before = await Deno.readTextFile(`${run}/config.json`);
    for (const flags of wrong) {
      await assertRejects(() => runAll(run, { sources: { flags }, force: true }), InputError, '"zzz"');
      assertEquals(await Deno.readTextFile(`${run}/config.json`), before);
    }
    // A script had a method that is gone: another one is taken.
    await writeRunConfiguration(run, { ...defaultConfiguration(), method: "gone" });
    await inRun(
      { run, sources: { flags: { method: "argmax" } }, force: true },
      {},
      { task: "test" },
      async () => {},
    );
    assertEquals((await readRunConfiguration(run))?.configuration.method, "argmax");
  }));

Deno.test("inRun() needs no partitioner that a run took its values from before", () =>
  inFolder(async (run) => {
    await writeRunConfiguration(run, {
      ...defaultConfiguration(),
      routers: "elsewhere/partitioner",
      experts: 3,
    });
    const experts = (flags: Partial<Configuration>) =>
      inRun(
        { run, sources: { flags } },
        {},
        { task: "test", beside: "others" },
        ({ work }) => Promise.resolve(work.configuration.experts),
      );
    assertEquals(await experts({}), 3);
    await assertRejects(() => experts({ routers: "elsewhere/partitioner" }), InputError, "elsewhere");
    await assertRejects(() => experts({ experts: 4 }), InputError, "elsewhere");
  }));

Deno.test("inRun() leaves no lock behind where values cannot be settled", () =>
  withStages([toyStage("first")], async (run) => {
    await runAll(run);
    await Deno.writeTextFile(`${run}/locks`, "a file in its place");
    await assertRejects(() =>
      inRun({ run }, {}, { task: "other", beside: "others" }, () => Promise.resolve())
    );
    await Deno.remove(`${run}/locks`);
    await runAll(run);
    assertEquals(await exists(`${run}/locks`), false);
  }));

Deno.test("inRun() removes what a process left that was killed as it wrote config.json", () =>
  withStages([toyStage("first")], async (run) => {
    await runAll(run);
    await Deno.writeTextFile(`${run}/config.json.12345.partial`, "{");
    await inRun({ run }, {}, { task: "other", beside: "others" }, () => Promise.resolve());
    assertEquals(await exists(`${run}/config.json.12345.partial`), false);
  }));

Deno.test("a stage that is none of the run's is named with the task that reads its manifest", () =>
  withStages([toyStage("first")], async (run) => {
    await assertRejects(
      () => inRun({ run }, {}, { task: "other" }, ({ work }) => work.manifest("second")),
      RangeError,
      'manifest of "second" for "other"',
    );
  }));

Deno.test("inRun() lets others work beside it by the same settings, and none that would change them", () =>
  withStages([toyStage("first", { settings: ["seed"] })], async (run) => {
    await runAll(run);
    const work = (beside: "others" | undefined, seed?: number) =>
      inRun(
        { run, sources: { flags: seed === undefined ? {} : { seed } }, force: seed !== undefined },
        {},
        { task: "test", beside },
        () => Promise.resolve(),
      );
    for (const beside of [undefined, "others"] as const) {
      await inRun({ run }, {}, { task: "one" }, async () => {
        await work(beside);
        const refused = "nobody else may work by them meanwhile: process";
        const error = await assertRejects(() => work(beside, 5), RunError, refused);
        assertStringIncludes(error.message, 'for task "one"');
        assertEquals(await seedOf(run), 0);
      });
    }
    await work(undefined, 5);
    assertEquals(await seedOf(run), 5);
  }));

Deno.test("inRun() leaves its settings to those that began to go by them, where it fails", () =>
  withStages([toyStage("first", { settings: ["seed"] })], async (run) => {
    await assertRejects(
      () =>
        inRun({ run, sources: { flags: { seed: 4 } } }, {}, { task: "one" }, async () => {
          const other = inRun({ run }, {}, { task: "two" }, ({ run: make, states }) =>
            make(states.graph.get("first")!));
          await other;
          throw new InputError("Cannot go on as the test says so");
        }),
      InputError,
      "says so",
    );
    assertEquals(await seedOf(run), 4);
  }));

Deno.test("two that make the same: the second stops with who makes it, and later finds it made", async () => {
  const stage = toyStage("first");
  const { prepare } = stage;
  const entered = Promise.withResolvers<void>();
  const leave = Promise.withResolvers<void>();
  stage.prepare = async (...of) => {
    const make = await prepare(...of);
    return async () => {
      entered.resolve();
      await leave.promise;
      return await make();
    };
  };
  await withStages([stage], async (run) => {
    const first = runAll(run);
    await entered.promise;
    const error = await assertRejects(() => runAll(run), RunError, 'Cannot make "first"');
    assertStringIncludes(error.message, `process ${Deno.pid}`);
    leave.resolve();
    await first;
    await runAll(run);
    assertEquals(stage.runs, 1);
    assertEquals(await exists(`${run}/locks`), false);
  });
});

Deno.test("inRun() keeps settings to itself where they are aside, and refuses changes in a part", () =>
  withStages([toyStage("first", { settings: ["seed"] })], async (run) => {
    await runAll(run);
    const sources = { flags: { seed: 8 } };
    const aside = { task: "trial", beside: "others", accepts: true, aside: true } as const;
    await inRun({ run, sources }, {}, aside, async ({ work }) => {
      assertEquals(work.configuration.seed, 8);
      await work.settle(() => Promise.resolve());
    });
    assertEquals(await seedOf(run), 0);
    const part = () =>
      inRun({ run, sources, force: true }, {}, { task: "score", beside: "parts" }, () => Promise.resolve());
    await assertRejects(part, InputError, "must be those of its config.json: seed is not");
  }));

Deno.test("inRun() that keeps settings to itself leaves those of others as they are, where it fails", () =>
  withStages([toyStage("first", { settings: ["seed"] })], async (run) => {
    await runAll(run);
    const other = { run, sources: { flags: { seed: 5 } }, force: true };
    await assertRejects(
      () =>
        inRun({ run }, {}, { task: "evaluate", aside: true }, async () => {
          await inRun(other, {}, { task: "partition" }, () => Promise.resolve());
          throw new InputError("Cannot go on as the test says so");
        }),
      InputError,
      "says so",
    );
    assertEquals(await seedOf(run), 5);
  }));

Deno.test({
  name: "inRun() notes its device in config.json once nobody else settles settings",
  ignore: gpu === null,
  fn: () =>
    withStages([toyStage("first")], async (run) => {
      const noted = async () => (await readRunConfiguration(run))?.adapter?.description;
      await inRun({ run, gpu }, {}, { task: "partition" }, async ({ work }) => {
        const settling = await lockRun(run, SETTINGS, "other");
        const opened = work.gpu();
        await new Promise((done) => setTimeout(done, 300));
        const before = await noted();
        await settling();
        await opened;
        assertEquals(before, undefined);
        assertEquals(await noted(), gpu.adapter);
      });
    }),
});

Deno.test("needConfiguration() names what is missing", async () => {
  const run = await Deno.makeTempDir();
  await assertRejects(() => needConfiguration(run, "train-expert 0"), InputError, "there is no config.json");
  await Deno.remove(run);
});
