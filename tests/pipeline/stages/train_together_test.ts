import { assert, assertEquals, assertRejects } from "@std/assert";
import type { AdapterKind } from "../../../kernels/device/variants.ts";
import { InputError, RunError, wordText } from "../../../kernels/errors.ts";
import { trainingMemory } from "../../../pipeline/cost/memory.ts";
import type { RunEvent } from "../../../pipeline/run/events.ts";
import { partition } from "../../../pipeline/stages/partition.ts";
import {
  expertsOf,
  memoryTogether,
  trainDense,
  trainDenseTogether,
  trainExpert,
  trainExperts,
  trainExpertsInTurn,
  trainSwitch,
  trainSwitchTogether,
} from "../../../pipeline/stages/train.ts";
import type { TrainResult } from "../../../pipeline/nodes/training_result.ts";
import { gpu } from "../../kernels/support.ts";
import { holder, kill } from "../run/holder.ts";
import { hashes } from "../../tasks/support.ts";
import { withPartition } from "./support.ts";

const FLAGS = {
  expertHidden: 8,
  expertLayers: 1,
  expertHeads: 2,
  expertBatch: 4,
  expertSteps: 9,
  expertWarmup: 1,
  logEvery: 4,
  validateEvery: 5,
};
const test = (name: string, fn: () => Promise<void>) => Deno.test({ name, ignore: gpu === null, fn });

/** Hashes of what trainings make, without the times. */
async function made(run: string): Promise<Record<string, string>> {
  const all = Object.entries(await hashes(run));
  return Object.fromEntries(
    all.filter(([path]) =>
      /^(experts|dense|switch|metrics\/(expert|dense|switch)|manifests\/train-(expert|dense|switch))/.test(
        path,
      )
    ),
  );
}

test("trainExperts() makes the files that trainExpert() makes of each, stopped in between or not", () =>
  withPartition(async (run) => {
    const options = { run, gpu: gpu!, sources: { flags: FLAGS }, checkpointEvery: 3 };
    const alone = [await trainExpert(0, options), await trainExpert(1, options)];
    const expected = await made(run);
    const clear = async () => {
      for (const path of Object.keys(expected)) await Deno.remove(`${run}/${path}`);
    };
    await clear();
    assertEquals(await trainExperts([0, 1], options), alone);
    assertEquals(await made(run), expected);
    assertEquals(await trainExperts([0, 1], options), alone); // up to date

    await clear();
    const stop = new AbortController();
    const watch = {
      signal: stop.signal,
      onEvent: (event: { type: string }) => event.type === "checkpoint" && stop.abort(),
    };
    await trainExperts([0, 1], options, watch).catch(() => {});
    assertEquals((await made(run))["manifests/train-expert-00.json"], undefined);
    const refused = await assertRejects(() => trainExperts([0, 1], { ...options, memory: 1 }), InputError);
    const [, takes] = /it takes (\d+) bytes, the limit is 1$/.exec(wordText(refused.what))!;
    assertEquals(await trainExperts([0, 1], { ...options, memory: Number(takes) }), alone); // one after the other
    assertEquals(await made(run), expected);

    // On the processor each has a bank of its own, which must fit beside the other's.
    if (gpu!.kind === "software") {
      await clear();
      const told: string[] = [];
      const onEvent = (event: RunEvent) => {
        if (event.type === "progress" && event.stage !== told.at(-1)) told.push(event.stage);
      };
      const memory = 2 * Number(takes) - 1;
      assertEquals(await trainExperts([0, 1], { ...options, memory }, { onEvent }), alone);
      assertEquals(told.length, 2, told.join()); // one after the other
      assertEquals(await made(run), expected);
    }

    // However one is trained, it is refused before anything that is there is lost.
    const force = { ...options, force: true, memory: Number(takes) - 1 };
    for (const train of [trainExperts, trainExpertsInTurn]) {
      await assertRejects(
        () => train([0, 1], force),
        InputError,
        "as it must fit memory",
      );
    }
    assertEquals(await made(run), expected);

    // One that is there is left out; the other is trained alone.
    for (const path of Object.keys(expected).filter((path) => path.includes("expert-01"))) {
      await Deno.remove(`${run}/${path}`);
    }
    assertEquals(await trainExperts([0, 1], options), alone);
    assertEquals(await made(run), expected);
  }));

Deno.test("memoryTogether() counts two banks on the processor, and one elsewhere", () => {
  const model = { vocabulary: 512, hidden: 32, layers: 2, heads: 2, context: 64 };
  const sizes = { batch: 8, length: 64 };
  const bank = (models: number, kind: AdapterKind) =>
    trainingMemory(model, { ...sizes, models, kind, asInBankOf: 1 }).total;
  const together = (models: number, kind: AdapterKind) => memoryTogether(model, models, { ...sizes, kind });
  assertEquals([1, 2, 7].map((models) => together(models, "software")), [
    bank(1, "software"),
    2 * bank(1, "software"),
    bank(4, "software") + bank(3, "software"),
  ]);
  assert(together(7, "software") > bank(7, "software"));
  assertEquals(together(7, "gpu"), bank(7, "gpu"));
});

test("trainExperts() says what is wrong with one, after the others have ended", () =>
  withPartition(async (run) => {
    const options = { run, gpu: gpu!, sources: { flags: FLAGS } };
    await assertRejects(() => trainExperts([0, 2], options), InputError, "must be one of 0 to 1");
    await Deno.remove(`${run}/partition/expert-00/train-00000.arrow`);
    await assertRejects(() => trainExperts([0, 1], options), InputError, "it is missing");
    const { "experts/expert-01/model.safetensors": model } = await made(run);
    assertEquals(model === undefined, false);
  }));

test("an expert that another process holds comes last, and is waited for; a single one is refused", () =>
  withPartition(async (run) => {
    const options = { run, gpu: gpu!, sources: { flags: FLAGS } };
    const alone = [await trainExpert(0, options), await trainExpert(1, options)];
    const expected = await made(run);
    for (const train of [trainExpertsInTurn, trainExperts]) {
      for (const path of Object.keys(expected)) await Deno.remove(`${run}/${path}`);
      const child = await holder(run, "train-expert-00");
      try {
        await assertRejects(() => trainExpert(0, options), RunError, `process ${child.pid}`);
        await assertRejects(() => trainExperts([0], options), RunError, `process ${child.pid}`);
        const told: string[] = [];
        const onEvent = (event: RunEvent) => {
          if (event.type === "stage") told.push(`${event.stage} ${event.state}`);
          if (event.type !== "warning") return;
          const text = wordText(event.message).replace(/ on \S+ /, " ").replace(/since \S+/, "since …");
          told.push(text);
          if (text.startsWith("waits for ")) child.kill("SIGKILL");
        };
        assertEquals(await train([0, 1], options, { onEvent }), alone);
        const { pid } = child;
        assertEquals(told.toSorted(), [
          `expert-00 of "${run}" comes last: process ${pid} has held it since … for task "other"`,
          ...["train-expert-00", "train-expert-01"].flatMap((name) => [`${name} done`, `${name} started`]),
          `waits for "train-expert-00", which process ${pid} holds for task "other"`,
        ]);
        const at = (text: string) => told.findIndex((line) => line.startsWith(text));
        assertEquals(at("train-expert-01 done") < at("waits for"), true);
        assertEquals(await made(run), expected);
      } finally {
        await kill(child);
      }
    }
  }));

test("processes that train the same experts again share them: none is trained twice, none that is finished replaced", () =>
  withPartition(async (run) => {
    const options = { run, gpu: gpu!, sources: { flags: FLAGS } };
    const alone = [await trainExpert(0, options), await trainExpert(1, options)];
    const expected = await made(run);
    const all = [trainExpertsInTurn, trainExperts];
    for (const [first, second] of all.flatMap((one) => all.map((other) => [one, other]))) {
      const told: string[] = [];
      let beside: Promise<TrainResult[]> | undefined;
      const onEvent = (event: RunEvent) => {
        if (event.type !== "stage") return;
        told.push(`${event.stage} ${event.state}`);
        beside ??= second([0, 1], { ...options, force: true }, { onEvent }); // while the first one trains
      };
      assertEquals(await first([0, 1], { ...options, force: true }, { onEvent }), alone);
      assertEquals(await beside, alone);
      const of = (state: string) => ["train-expert-00", "train-expert-01"].map((name) => `${name} ${state}`);
      assertEquals(told.toSorted(), [...of("done"), ...of("started"), ...of("up to date")].toSorted());
      assertEquals(await made(run), expected);
    }
  }));

test("seeds of one model are trained as a bank across runs, to the files that each has alone", () =>
  withPartition(async (run, flags) => {
    const also = [`${run}-1`, `${run}-2`];
    for (const [i, other] of also.entries()) {
      await partition({ run: other, gpu: gpu!, sources: { flags: { ...flags, seed: i + 1 } }, reuse: [run] });
    }
    const runs = [run, ...also];
    const options = { gpu: gpu!, sources: { flags: FLAGS }, checkpointEvery: 3 };
    const alone = { experts: [], dense: [], switch: [] } as Record<string, TrainResult[]>;
    for (const run of runs) {
      alone.experts.push(
        await trainExpert(0, { ...options, run }),
        await trainExpert(1, { ...options, run }),
      );
      alone.dense.push(await trainDense("batch", { ...options, run }));
      alone.switch.push(await trainSwitch({ ...options, run }));
    }
    const expected = await Promise.all(runs.map(made));
    assertEquals(new Set(expected.map((files) => files["dense/model.safetensors"])).size, 3);
    for (const [i, run] of runs.entries()) {
      for (const path of Object.keys(expected[i])) await Deno.remove(`${run}/${path}`);
    }
    const one = (where: string) => where === run ? [0] : [1]; // other experts of each run
    assertEquals(
      await trainExperts(one, { ...options, run, also: [also[0]] }),
      [alone.experts[0], alone.experts[3]],
    );
    assertEquals(await trainExperts([0, 1], { ...options, run, also }), alone.experts);
    assertEquals(await trainDenseTogether("batch", { ...options, run, also }), alone.dense);
    assertEquals(await trainSwitchTogether({ ...options, run, also }), alone.switch);
    assertEquals(await Promise.all(runs.map(made)), expected);
  }));

test("a wrong run to train beside is told before anything is trained or a device opens", () =>
  withPartition(async (run, flags) => {
    await partition({ run: `${run}-1`, gpu: gpu!, sources: { flags: { ...flags, experts: 3 } } });
    const events: string[] = [];
    const watch = { onEvent: ({ type }: { type: string }) => events.push(type) };
    const options = (also: string[], where = run) => ({ run: where, sources: { flags: FLAGS }, also });
    const none = `Cannot train models of "${run}-none" as also must name runs: there is none`;
    const twice = "twice as also must name other runs: it is the run";
    const cases: [() => Promise<unknown>, string][] = [
      [() => trainSwitchTogether(options([`${run}-none`]), watch), none],
      [() => trainDenseTogether("batch", options([`${run}-1`, `${run}-none`]), watch), none],
      [() => trainDenseTogether("batch", options([run]), watch), twice],
      [() => trainDenseTogether("batch", options([`${run}/../run`]), watch), twice],
      [() => trainDenseTogether("batch", options([`${run}-1`, `${run}-1/.`]), watch), twice],
      [() => trainExperts([0, 2], options([run], `${run}-1`), watch), `the run "${run}" has 2 experts`],
      [
        () => trainDenseTogether("batch", options([run], `${run}-none`), watch),
        `Cannot run "train-dense" in "${run}-none" as it must be a run folder`,
      ],
    ];
    for (const [fn, what] of cases) await assertRejects(fn, InputError, what);
    assertEquals([events, await made(run), await made(`${run}-1`)], [[], {}, {}]);
    await assertRejects(
      () => expertsOf(run, [`${run}-1`]),
      InputError,
      `Cannot train all experts of "${run}-1" beside those of "${run}" as also must name runs of as many experts: they have 3 and 2`,
    );
  }));
