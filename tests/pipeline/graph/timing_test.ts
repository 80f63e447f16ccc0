import { assert, assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import {
  keepMeasured,
  measuredDevices,
  readTimes,
  recordTime,
  secondsByNode,
  type Time,
} from "../../../pipeline/graph/timing.ts";
import { inFolder } from "../../tasks/support.ts";
import { withCache } from "./measured_support.ts";

Deno.test("recordTime() follows no link out of the run", () =>
  inFolder(async (folder) => {
    await Deno.mkdir(`${folder}/run/metrics`, { recursive: true });
    await Deno.writeTextFile(`${folder}/mine`, "mine");
    await Deno.symlink(`${folder}/mine`, `${folder}/run/metrics/timing.jsonl`);
    await assertRejects(
      () => recordTime(`${folder}/run`, { stage: "score" }),
      InputError,
      "timing.jsonl",
    );
    assertEquals(await Deno.readTextFile(`${folder}/mine`), "mine");
  }));

Deno.test("secondsByNode() takes the last making of a node, and of a training what was not lost", () => {
  const times: Time[] = [
    { stage: "score", nodes: ["scores/a"], seconds: 9 },
    { stage: "score", nodes: ["scores/a", "scores/b"], seconds: 3 },
    { stage: "train-expert-00", step: 10, seconds: 1 },
    { stage: "train-expert-00", step: 20, seconds: 1 },
    { stage: "train-expert-00", step: 30, seconds: 1 }, // killed; the state is that of step 15
    { stage: "train-expert-00", step: 20, seconds: 0.25 },
    { stage: "train-expert-00", step: 30, seconds: 0.5 },
    { stage: "train-expert-00", nodes: ["experts/expert-00"], seconds: 0.9 },
  ];
  const of = secondsByNode(times);
  const nodes = ["scores/a", "scores/b", "experts/expert-00", "scores/c", "partition/expert-00"];
  assertEquals(nodes.map(of), [1.5, 1.5, 1.75, undefined, undefined]);
});

Deno.test("secondsByNode() looks at each line once: of a training of 100,000 lines within a second", () => {
  const times = Array.from(
    { length: 100_000 },
    (_, step): Time => ({ stage: "train-dense", step, seconds: 1 }),
  );
  const start = performance.now();
  assertEquals(secondsByNode(times)("dense"), 100_000);
  assert(performance.now() - start < 1_000);
});

Deno.test("readTimes() reads what recordTime() wrote; a run without times has none, and damaged lines are left out", () =>
  inFolder(async (run) => {
    assertEquals(await readTimes(run), []);
    const before = Date.now();
    await recordTime(run, { stage: "score", seconds: 1.5, at: "overwritten" });
    const { at } = JSON.parse(await Deno.readTextFile(`${run}/metrics/timing.jsonl`));
    assert(Date.parse(at) >= before - 1 && Date.parse(at) <= Date.now() + 1, at);
    await Deno.writeTextFile(`${run}/metrics/timing.jsonl`, '{"stage":"sco', { append: true }); // as a full disk cuts it
    for (const seconds of [2, 3]) await recordTime(run, { stage: "score", seconds });
    assertEquals((await readTimes(run)).map(({ seconds }) => seconds), [1.5, 3]);
  }));

const FIGURES = { gflops: 60e3, gbytes: 2e3, utilisation: 0.4, at: "2026-01-01T00:00:00.000Z" };

Deno.test("keepMeasured() keeps the figures of each device, and a damaged file holds none", () =>
  withCache(async (folder) => {
    assertEquals(await measuredDevices(), {});
    const path = await keepMeasured("one", FIGURES);
    assertEquals(path, `${folder}/devices.json`);
    await keepMeasured("two", { ...FIGURES, gflopsF16: 120e3 });
    await keepMeasured("one", { ...FIGURES, gflops: 50e3 });
    assertEquals(await measuredDevices(), {
      one: { ...FIGURES, gflops: 50e3 },
      two: { ...FIGURES, gflopsF16: 120e3 },
    });
    for (const text of ["{", '{"one": {"gflops": -1}}', '{"one": 3}']) {
      await Deno.writeTextFile(path!, text);
      assertEquals(await measuredDevices(), {});
    }
    await keepMeasured("one", FIGURES);
    assertEquals(await measuredDevices(), { one: FIGURES });
  }));

Deno.test("keepMeasured() gives no file where the cache folder cannot be written", () =>
  withCache(async (folder) => {
    await Deno.writeTextFile(`${folder}/file`, "");
    Deno.env.set("SMALLTALK_CACHE", `${folder}/file/cache`);
    assertEquals(await keepMeasured("one", FIGURES), undefined);
    assertEquals(await measuredDevices(), {});
  }));
