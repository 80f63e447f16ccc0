import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { InputError, wordText } from "../../../kernels/errors.ts";
import type { RunEvent } from "../../../pipeline/run/events.ts";
import { outputsHash, readManifest, writeManifest } from "../../../pipeline/run/manifest.ts";
import { defaultConfiguration } from "../../../pipeline/settings/configuration.ts";
import { inRun } from "../../../pipeline/stages/session.ts";
import { isPinned, needStage, statesOf } from "../../../pipeline/stages/state.ts";
import { worded } from "../../../tasks/wording.ts";
import { runAll, toyStage, withStages } from "./support.ts";

const configuration = defaultConfiguration();
const chain = () => [
  toyStage("first", { settings: ["seed"] }),
  toyStage("second", { needs: ["first"], settings: ["prefix"] }),
  toyStage("third", { needs: ["second"], uses: ["extra"] }),
  toyStage("extra", { onRequest: true }),
];

/** Tells of every stage how it stands, and why. */
async function told(run: string, changes: Partial<typeof configuration> = {}) {
  const states = statesOf({ run, configuration: { ...configuration, ...changes } });
  const all = await Promise.all(states.graph.stages.map((stage) => states.of(stage)));
  return Object.fromEntries(
    all.map(({ stage, state, because }) => [stage.name, because ? `${state}: ${wordText(because)}` : state]),
  );
}

Deno.test("statesOf() tells what is made, missing, damaged, and out of date and why", () =>
  withStages(chain(), async (run) => {
    const missing = { first: "missing", extra: "missing", second: "missing", third: "missing" };
    assertEquals(await told(run), missing);
    await runAll(run);
    const made = { ...missing, first: "up to date", second: "up to date", third: "up to date" };
    assertEquals(await told(run), made);

    assertEquals(await told(run, { seed: 7 }), {
      ...made,
      first: "out of date: seed was 0, it is 7",
      second: 'out of date: "first" is out of date',
      third: 'out of date: "second" is out of date',
    });
    assertEquals((await told(run, { prefix: 8 })).first, "up to date");

    await Deno.writeTextFile(`${run}/first/first.txt`, "short");
    assertEquals(await told(run), {
      ...made,
      first: 'damaged: "first/first.txt" is missing or has another size',
    });
    const { outputs, result, ...identity } = (await readManifest(run, "first"))!;
    const other = { "first/first.txt": { ...outputs["first/first.txt"], sha256: "0".repeat(64) } };
    await writeManifest(run, identity, { outputs: other, result });
    assertEquals((await told(run)).second, "out of date: it was made from other first");
    await writeManifest(run, { ...identity, revision: 3 }, { outputs, result });
    assertEquals((await told(run)).first, "out of date: revision 3 made it, this is revision 1");
    await Deno.remove(`${run}/manifests/first.json`);
    assertEquals((await told(run)).second, 'out of date: "first" is missing');
  }));

Deno.test("statesOf() tells of a manifest that cannot be read, and of the other stages all the same", () =>
  withStages(chain(), async (run) => {
    await runAll(run);
    const path = `${run}/manifests/second.json`;
    const text = await Deno.readTextFile(path);
    await Deno.writeTextFile(path, text.slice(0, text.length / 2));
    const states = await told(run);
    assertEquals([states.first, states.extra], ["up to date", "missing"]);
    assertStringIncludes(states.second, `damaged: Cannot read "${path}" as it must be a stage's manifest`);
    assertStringIncludes(states.second, "; move it elsewhere (if it is that of a stage, this runs again)"); // no stage of ours
    assertEquals(states.third, 'out of date: "second" is damaged');
    const context = { run, configuration };
    const known = statesOf(context);
    const need = () => needStage(context, known, known.graph.get("second")!, "third");
    assertEquals((await assertRejects(need, InputError, "Cannot read")).where, path);
    await assertRejects(() => runAll(run), InputError, "Cannot read");
    await runAll(run, { check: true });
    assertEquals((await told(run)).third, "up to date");
  }));

Deno.test("statesOf() counts a stage that is only used by its outputs, as runStage() does", () => {
  const extra = toyStage("extra", { settings: ["seed"] });
  const user = toyStage("user", {
    uses: ["extra"],
    inputs: async (_, manifest): Promise<Record<string, string>> => {
      const made = await manifest("extra");
      return made ? { extra: outputsHash(made) } : {};
    },
  });
  return withStages([user, extra], async (run) => {
    await runAll(run);
    assertEquals(await told(run, { seed: 7 }), {
      extra: "out of date: seed was 0, it is 7",
      user: "up to date",
    });
    const work = { run, sources: { flags: { seed: 7 } }, force: true };
    const ran: string[] = [];
    const onEvent = (event: RunEvent) => event.type === "stage" && ran.push(`${event.stage} ${event.state}`);
    const only = (name: string) =>
      inRun(work, { onEvent }, { task: name }, ({ states, run }) => run(states.graph.get(name)!));
    await only("user");
    assertEquals(ran, ["user up to date"]);
    await only("extra");
    assertEquals(await told(run, { seed: 7 }), {
      extra: "up to date",
      user: "out of date: it was made from other extra",
    });
  });
});

Deno.test("needStage() gives the manifest of a stage that stands, and names the task to run for any other", () =>
  withStages(chain(), async (run) => {
    const need = (changes: Partial<typeof configuration> = {}) => {
      const context = { run, configuration: { ...configuration, ...changes } };
      const states = statesOf(context);
      return needStage(context, states, states.graph.get("second")!, "third");
    };
    const refusal = async (changes = {}, command = `second --run ${run}`) => {
      const { what, remedy } = await assertRejects(() => need(changes), InputError);
      assertEquals(worded(remedy!), `run deno task ${command} first`);
      return wordText(what);
    };
    const { what, remedy } = await assertRejects(() => need(), InputError);
    assertStringIncludes(wordText(what), '"second" must have run there: nothing has');
    const all = `run deno task partition --run ${run} first, which runs all stages`;
    assertEquals(worded(remedy!), `${all}, or deno task second --run ${run}`);
    await runAll(run);
    await Deno.remove(`${run}/manifests/second.json`);
    assertStringIncludes(await refusal(), '"second" must have run there: it has not');
    await runAll(run);
    assertEquals((await need()).stage, "second");
    // A command that did not name the value, and accept it, would find its stage up to date.
    const prefix = await refusal({ prefix: 8 }, `second --run ${run} --prefix 8 --force`);
    assertStringIncludes(prefix, "must have run with prefix 8: it ran with 64");
    const seed = await refusal({ seed: 8 }, `first --run ${run} --seed 8 --force`);
    assertStringIncludes(seed, 'on what is there now: "first" is out of date');
    await Deno.remove(`${run}/second/second.txt`);
    assertEquals((await need()).stage, "second"); // who reads the file says what is the matter with it
  }));

Deno.test("isPinned() says whether something was made that a setting's change would contradict", () =>
  withStages(chain(), async (run) => {
    const context = { run, configuration };
    assert(!await isPinned(context, "seed"));
    await runAll(run);
    assert(await isPinned(context, "seed"));
    assert(await isPinned(context, "prefix"));
    assert(!await isPinned(context, "expertSteps"));
    await Deno.remove(`${run}/manifests/first.json`);
    assert(await isPinned(context, "seed")); // what stands on it is there
  }));

Deno.test("isPinned() leaves out what only uses a stage where it is there", () =>
  withStages([
    toyStage("extra", { onRequest: true, settings: ["seed"] }),
    toyStage("last", { uses: ["extra"] }),
  ], async (run) => {
    await runAll(run);
    assertEquals((await readManifest(run, "last"))?.stage, "last");
    assert(!await isPinned({ run, configuration }, "seed"));
  }));
