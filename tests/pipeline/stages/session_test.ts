import { assertEquals, assertRejects } from "@std/assert";
import { InputError, RunError } from "../../../kernels/errors.ts";
import { exists } from "../../../pipeline/run/files.ts";
import { readRunConfiguration, writeRunConfiguration } from "../../../pipeline/run/configuration.ts";
import { type Configuration, defaultConfiguration } from "../../../pipeline/settings/configuration.ts";
import { gpu } from "../../kernels/support.ts";
import { inFolder } from "../../tasks/support.ts";
import { inRun, needConfiguration } from "../../../pipeline/stages/session.ts";
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
    await Deno.remove(`${run}/metrics`, { recursive: true });
    await Deno.writeTextFile(`${run}/metrics`, "a file in its place");
    await assertRejects(() =>
      inRun({ run }, {}, { task: "other", beside: "others" }, () => Promise.resolve())
    );
    await Deno.remove(`${run}/metrics`);
    await runAll(run);
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

Deno.test("inRun() lets one work in a run alone, and others beside it where they make other things", () =>
  withStages([toyStage("first")], async (run) => {
    await runAll(run);
    const work = (beside: "others" | undefined, body: () => Promise<unknown>) =>
      inRun({ run }, {}, { task: "test", beside }, body);
    await work(undefined, async () => {
      await assertRejects(() => work(undefined, () => Promise.resolve()), RunError, 'for task "test"');
    });
    await inRun({ run }, {}, { task: "one", beside: "others" }, async ({ work: { settle } }) => {
      await settle(() => Promise.resolve()); // from here on another may settle its values
      await work("others", () => Promise.resolve());
      await assertRejects(() => work(undefined, () => Promise.resolve()), RunError);
    });
  }));

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

Deno.test("needConfiguration() names what is missing", async () => {
  const run = await Deno.makeTempDir();
  await assertRejects(() => needConfiguration(run, "train-expert 0"), InputError, "there is no config.json");
  await Deno.remove(run);
});
