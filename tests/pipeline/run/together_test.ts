import { assert, assertEquals, assertRejects } from "@std/assert";
import { InputError, wordText } from "../../../kernels/errors.ts";
import { takeLock } from "../../../pipeline/graph/lock.ts";
import { readManifest } from "../../../pipeline/graph/node.ts";
import { trainExpert, trainExperts } from "../../../pipeline/run/models.ts";
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
    const shard = `${run}/partition/expert-01/train-00000.arrow`;
    const bytes = await Deno.readFile(shard);
    bytes[bytes.length >> 1] ^= 1; // in the first batch's tokens
    await Deno.writeFile(shard, bytes);
    const options = { run, gpu, sources: { flags }, together: true };
    await assertRejects(() => trainExperts([0, 1], options), InputError, "train-00000.arrow");
    assert(await readManifest(`${run}/experts/expert-00`));
    assertEquals(await readManifest(`${run}/experts/expert-01`), null);
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
