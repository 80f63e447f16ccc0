import { assert, assertEquals, assertRejects } from "@std/assert";
import { InputError, wordText } from "../../../kernels/errors.ts";
import { loadCheckpoint, saveCheckpoint } from "../../../pipeline/model/checkpoints/checkpoint.ts";
import { takeLock } from "../../../pipeline/graph/lock.ts";
import { readManifest } from "../../../pipeline/graph/node.ts";
import { readExpertCount, trainDense, trainExpert } from "../../../pipeline/run/models.ts";
import { trainExperts, trainModels } from "../../../pipeline/run/models.ts";
import { makePartition } from "../../../pipeline/run/run.ts";
import { denseTarget, switchTarget } from "../../../pipeline/stages/targets.ts";
import type { RunEvent } from "../../../pipeline/graph/events.ts";
import { gpu as own } from "../../kernels/support.ts";
import { hashes } from "../../tasks/support.ts";
import { withPartition } from "./support.ts";

const flags = {
  expertHidden: 8,
  expertLayers: 1,
  expertHeads: 2,
  expertBatch: 4,
  expertSteps: 9,
  expertWarmup: 1,
  logEvery: 4,
  validateEvery: 5,
};
const gpu = own!;
const test = (name: string, fn: () => Promise<void>) =>
  Deno.test({ name, ignore: own === null, fn });

/** Hashes of the models of a run. */
const made = async (run: string) =>
  Object.fromEntries(
    Object.entries(await hashes(run)).filter(([path]) => /^(experts|dense|switch)\//.test(path)),
  );
const clear = async (run: string) => {
  for (const name of ["experts", "dense", "switch"]) {
    await Deno.remove(`${run}/${name}`, { recursive: true }).catch(() => {});
  }
};

test("experts that are trained together are those that are trained alone, whatever memory there is", () =>
  withPartition(async (run) => {
    const options = { run, gpu, sources: { flags } };
    const alone = [await trainExpert(0, options), await trainExpert(1, options)];
    const expected = await made(run);
    const together = { ...options, together: true };
    await clear(run);
    assertEquals(await trainExperts([0, 1], together), alone);
    assertEquals(await made(run), expected);
    await clear(run);
    const refused = await assertRejects(
      () => trainExperts([0, 1], { ...together, memory: 1 }),
      InputError,
    );
    const [, takes] = /it takes (\d+) bytes, the limit is 1$/.exec(wordText(refused.what))!;
    // One after the other.
    assertEquals(await trainExperts([0, 1], { ...together, memory: Number(takes) }), alone);
    assertEquals(await made(run), expected);
    const force = { ...options, force: true, memory: Number(takes) - 1 };
    await assertRejects(() => trainExperts([0, 1], force), InputError, "as it must fit memory");
    assertEquals(await made(run), expected); // refused before anything that is there is lost

    // Stopped twice on the way, alone or in a bank, they end the same.
    for (const some of [options, together]) {
      await clear(run);
      for (const last of [3, 7]) {
        const ending = new AbortController();
        const onEvent = (event: RunEvent) =>
          void (event.type === "progress" && event.done >= last && ending.abort());
        const stopped = () =>
          trainExperts([0, 1], { ...some, checkpointEvery: 5 }, { onEvent, signal: ending.signal });
        await assertRejects(stopped, DOMException);
      }
      // No lock keeps away another process, which removes checkpoints as soon as they are read.
      const onEvent = (event: RunEvent) => {
        const [, name] =
          event.type === "warning" && /^(.+) goes on/.exec(wordText(event.message)) || [];
        for (const { name: entry } of Deno.readDirSync(`${run}/scratch`)) {
          if (name && entry.includes(name)) {
            Deno.removeSync(`${run}/scratch/${entry}`, { recursive: true });
          }
        }
      };
      assertEquals((await trainExperts([0, 1], some, { onEvent })).map(({ steps }) => steps), [
        9,
        9,
      ]);
      assertEquals(await made(run), expected);
      assertEquals([...Deno.readDirSync(`${run}/scratch`)], []);
    }
  }));

test("where one of several fails, the others are made, and its error is reported in the end", () =>
  withPartition(async (run) => {
    const other = `${run}-1`;
    await makePartition({
      run: other,
      gpu,
      sources: { flags: { ...(await listSettings(run)), seed: 1 } },
    });
    await trainExpert(0, { run, gpu, sources: { flags } });
    const { config, weights, notes } = await loadCheckpoint(`${run}/experts/expert-00`);
    weights.get("gpt_neox.embed_in.weight")!.fill(3e38);
    await saveCheckpoint(`${run}/../huge`, config, weights, { ...notes, tokenizer: undefined });
    await clear(run);
    const own = { run, gpu, sources: { flags } };
    await trainExpert(0, {
      ...own,
      run: other,
      sources: { flags: { ...flags, init: `${run}/../huge` } },
    })
      .catch(() => {});
    await assertRejects(
      () => trainExperts([0], { ...own, also: [other] }),
      Error,
      "must be finite",
    );
    assert(await readManifest(`${run}/experts/expert-00`));
    assertEquals(await readManifest(`${other}/experts/expert-00`), null);
  }));

test("an expert that another process trains comes last, and is waited for", () =>
  withPartition(async (run) => {
    const options = { run, gpu, sources: { flags } };
    for (const together of [false, true]) {
      const lock = await takeLock(run, "experts/expert-00", "other");
      const reported: string[] = [];
      const onEvent = (event: RunEvent) => {
        if (event.type !== "warning") return;
        reported.push(wordText(event.message));
        if ("release" in lock) lock.release();
      };
      const results = await trainExperts([0, 1], { ...options, together }, { onEvent });
      assertEquals(results.map(({ folder }) => folder), ["experts/expert-00", "experts/expert-01"]);
      assertEquals(reported.length, 1);
      assert(
        reported[0].startsWith(`waits for "experts/expert-00", which process ${Deno.pid}`),
        reported[0],
      );
      await clear(run);
    }
  }));

const listSettings = async (run: string) =>
  JSON.parse(await Deno.readTextFile(`${run}/config.json`)).configuration as Record<string, never>;

test("seeds of one model are trained as a bank across runs, to the files that each has alone", () =>
  withPartition(async (run) => {
    const also = [`${run}-1`];
    const settings = { ...await listSettings(run), seed: 1 };
    await makePartition({ run: also[0], gpu, sources: { flags: settings }, reuse: [run] });
    const runs = [run, ...also];
    const options = { gpu, sources: { flags } };
    const models = () => [denseTarget("batch"), switchTarget()];
    for (const run of runs) {
      await trainExpert(0, { ...options, run });
      await trainExpert(1, { ...options, run });
      await trainModels(models, { ...options, run });
    }
    const expected = await Promise.all(runs.map(made));
    assertEquals(new Set(expected.map((files) => files["dense/model.safetensors"])).size, 2);
    for (const run of runs) await clear(run);
    const one = (where: string) => where === run ? [0] : [1]; // other experts of each run
    const some = await trainExperts(one, { ...options, run, also });
    assertEquals(some.map(({ folder }) => folder), ["experts/expert-00", "experts/expert-01"]);
    await trainExperts([0, 1], { ...options, run, also });
    await trainModels(models, { ...options, run, also });
    assertEquals(await Promise.all(runs.map(made)), expected);
  }));

test("a wrong run to train in parallel is reported before anything is trained or a device opens", () =>
  withPartition(async (run) => {
    const other = `${run}-1`;
    await makePartition({
      run: other,
      gpu,
      sources: { flags: { ...await listSettings(run), experts: 3 } },
    });
    const events: string[] = [];
    const watch = { onEvent: ({ type }: { type: string }) => events.push(type) };
    const options = (also: string[], where = run) => ({ run: where, sources: { flags }, also });
    const cases: [() => Promise<unknown>, string][] = [
      [
        () => trainDense("batch", options([`${run}-none`]), watch),
        "as also must name runs: there is none",
      ],
      [
        () => trainDense("batch", options([run]), watch),
        "twice as also must name other runs: it is the run",
      ],
      [
        () => trainDense("batch", options([other, `${other}/.`]), watch),
        "twice as also must name other",
      ],
      [() => trainExperts([0, 2], options([run], other), watch), `the run "${run}" has 2 experts`],
      [
        () => trainDense("batch", options([run], `${run}-none`), watch),
        "as it must be a run folder",
      ],
    ];
    for (const [fn, what] of cases) await assertRejects(fn, InputError, what);
    assertEquals([events, await made(run), await made(other)], [[], {}, {}]);
    await assertRejects(
      () => readExpertCount(run, [other]),
      InputError,
      "as many experts: they have 3 and 2",
    );
  }));
