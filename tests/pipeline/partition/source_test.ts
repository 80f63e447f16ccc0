import { assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { openPartitioner } from "../../../pipeline/partition/partitioners.ts";
import { source } from "../../../pipeline/partition/source.ts";
import { inFolder } from "../../tasks/support.ts";
import { learningOf, noDevice } from "./support.ts";

/** Learns on so many tokens of every source. */
async function learn(folder: string, experts: number, sources: Record<string, number>) {
  const { sha256, result } = await source.learn!(
    await learningOf(folder, { experts, sequenceLength: 4 }, { sources }),
  );
  return { sha256, result, partitioner: await openPartitioner(`${folder}/partitioner`, noDevice) };
}

/** The expert of each label, for any prefix. */
async function chooseExperts(
  partitioner: Awaited<ReturnType<typeof learn>>["partitioner"],
  labels: string[],
) {
  const rows = {
    tokens: new Uint16Array(4 * labels.length),
    sequenceLength: 4,
    length: new Uint32Array(labels.length).fill(4),
    source: labels,
  };
  const costs = await partitioner.costs(rows, [2, 4]);
  const { experts } = partitioner;
  assertEquals(costs.length, 2 * labels.length * experts);
  assertEquals(costs.slice(0, costs.length / 2), costs.slice(costs.length / 2));
  return labels.map((_, row) => costs.subarray(row * experts, (row + 1) * experts).indexOf(0));
}

Deno.test("source puts the largest label first into the lightest group", () =>
  inFolder(async (folder) => {
    const { partitioner, result, sha256 } = await learn(folder, 2, {
      news: 3,
      law: 10,
      sea: 6,
      code: 4,
    });
    assertEquals([partitioner.sha256, result], [sha256, { sources: 4 }]);
    // law 10 | sea 6 | code 4 with sea | news 3: both have 10, the lower expert takes it
    const labels = ["law", "sea", "code", "news", "new"];
    assertEquals(await chooseExperts(partitioner, labels), [0, 1, 1, 0, -1]);
    const rows = {
      tokens: new Uint16Array(20),
      sequenceLength: 4,
      length: new Uint32Array(5).fill(4),
    };
    assertEquals(partitioner.unknown!({ ...rows, source: labels }), 1);
    assertEquals(partitioner.unknown!({ ...rows, source: ["new", ...labels.slice(1, 4), ""] }), 2);
  }));

Deno.test("source knows labels that every object has as keys", () =>
  inFolder(async (folder) => {
    const rows = JSON.parse('{"news": 9, "prototype": 8, "constructor": 5, "__proto__": 3}');
    const { partitioner } = await learn(folder, 3, rows);
    assertEquals(await chooseExperts(partitioner, Object.keys(rows)), [0, 1, 2, 2]);
  }));

Deno.test("source refuses fewer labels than experts, and rows without labels", () =>
  inFolder(async (folder) => {
    await assertRejects(
      () => learn(folder, 3, { news: 3, law: 10 }),
      InputError,
      "at least as many labels as experts: there are 2, experts is 3",
    );
    await assertRejects(() => learn(folder, 2, { "": 5 }), InputError, "there are none");
    const { partitioner } = await learn(folder, 2, { news: 3, law: 10 });
    const rows = { tokens: new Uint16Array(4), sequenceLength: 4, length: Uint32Array.of(4) };
    await assertRejects(() => partitioner.costs(rows, [4]), InputError, "must have its label");
  }));

Deno.test("source refuses a damaged table of labels", () =>
  inFolder(async (folder) => {
    await learn(folder, 2, { news: 3, law: 10 });
    for (const expert of [-1, 2]) {
      const table = JSON.stringify({ news: { expert, tokens: 1 } });
      await Deno.writeTextFile(`${folder}/partitioner/sources.json`, table);
      await assertRejects(
        () => openPartitioner(`${folder}/partitioner`, noDevice),
        InputError,
        "news.expert",
      );
    }
  }));
