import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { decodeSafetensors } from "../../../../pipeline/checkpoints/safetensors.ts";
import { FILE, learnClusters } from "../../../../pipeline/partition/ctbm/learn.ts";
import type { RunEvent } from "../../../../pipeline/run/events.ts";
import { inFolder } from "../../../tasks/support.ts";
import { contextOf, EOS, VOCABULARY, writeTokens } from "../support.ts";

const ROWS = Array.from({ length: 40 }, (_, row) => [1 + row % 7, 10 + row % 11, 30 + row % 3, EOS]);

/** Learns on rows; gives what it told as well. */
async function learn(folder: string, rows: number[][], settings: Record<string, number> = {}) {
  const shards = [await writeTokens(`${folder}/train-00000.arrow`, rows)];
  const events: RunEvent[] = [];
  const context = contextOf(
    folder,
    { experts: 2, seed: 1, sequenceLength: 4, ...settings },
    shards,
    rows.length,
  );
  await Deno.mkdir(context.folder, { recursive: true });
  return { learned: await learnClusters({ ...context, emit: (event) => events.push(event) }), events };
}

Deno.test("learnClusters() learns on exactly the sample that is asked for, and stops reading once it has it", () =>
  inFolder(async (folder) => {
    const { learned } = await learn(folder, ROWS, { partitionerSample: 15 });
    assertEquals(learned.result.sampled, 15);
    const { learned: all, events } = await learn(folder, ROWS);
    assertEquals(all.result.sampled, 40);
    const last = events.at(-1);
    assert(last?.type === "progress");
    assertEquals([last.done, last.total, last.unit], [40, 40, "sequences"]);
  }));

Deno.test("learnClusters() keeps a smoothed inverse document frequency per token, and a centre per expert", () =>
  inFolder(async (folder) => {
    await learn(folder, ROWS);
    const path = `${folder}/partitioner/${FILE}`;
    const tensors = decodeSafetensors(await Deno.readFile(path), path);
    const { shape, values } = tensors.get("frequencies")!;
    assertEquals(shape, [VOCABULARY]);
    for (const [id, sequences] of [[30, 14], [31, 13], [10, 4], [1, 6]]) {
      assertEquals(ROWS.filter((row) => row.includes(id)).length, sequences);
      assertAlmostEquals(values[id], 1 + Math.log(41 / (1 + sequences)), 1e-6);
    }
    const dimensions = tensors.get("vectors")!.shape[1];
    assertEquals(tensors.get("centres")!.shape, [2, dimensions]);
  }));
