import { assert, assertEquals } from "@std/assert";
import { learnClusters } from "../../../../pipeline/partition/ctbm/learn.ts";
import type { RunEvent } from "../../../../pipeline/run/events.ts";
import { inFolder } from "../../../tasks/support.ts";
import { contextOf, EOS, writeTokens } from "../support.ts";

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
