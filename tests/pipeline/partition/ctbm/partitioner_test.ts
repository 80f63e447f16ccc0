import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../../kernels/errors.ts";
import { decodeSafetensors } from "../../../../pipeline/model/checkpoints/safetensors.ts";
import { assignArgmax } from "../../../../pipeline/partition/assignment/assignment.ts";
import { ctbm } from "../../../../pipeline/partition/ctbm/partitioner.ts";
import { openPartitioner } from "../../../../pipeline/partition/partitioners.ts";
import { uniform } from "../../../../pipeline/random.ts";
import { inFolder } from "../../../tasks/support.ts";
import { EOS, learningOf, noDevice, VOCABULARY, writeTokens } from "../support.ts";

const S = 12;

/** Sequences of three topics, of words that others use too; some are short. */
function topics(rows: number, seed = 1): number[][] {
  return Array.from(
    { length: rows },
    (_, row) =>
      Array.from({ length: row % 4 === 0 ? S - 5 : S }, (_, i) => {
        const draw = (what: string) => uniform(seed, what, row * S + i);
        const own = draw("own") < 0.7;
        return 1 +
          (own ? 30 * (row % 3) + Math.floor(20 * draw("word")) : Math.floor(97 * draw("any")));
      }),
  );
}

async function learn(folder: string, rows: number[][], settings = {}) {
  const shards = [
    await writeTokens(`${folder}/train-00000.arrow`, rows.slice(0, 50), undefined, S),
    await writeTokens(`${folder}/train-00001.arrow`, rows.slice(50), undefined, S),
  ];
  const configuration = { experts: 3, seed: 1, sequenceLength: S, ...settings };
  const learning = await learningOf(folder, configuration, { shards });
  using _rows = learning.rows;
  const learned = await ctbm.learn!(learning);
  return { learned, partitioner: await openPartitioner(`${folder}/partitioner`, noDevice) };
}

function tokenRows(rows: number[][]) {
  const tokens = new Uint16Array(rows.length * S).fill(EOS);
  rows.forEach((row, i) => tokens.set(row, i * S));
  return { tokens, sequenceLength: S, length: Uint32Array.from(rows, (row) => row.length) };
}

Deno.test("ctbm tells topics apart, and gives equal parts of its sample", () =>
  inFolder(async (folder) => {
    const rows = topics(240);
    const { learned, partitioner } = await learn(folder, rows);
    assertEquals([learned.sha256, partitioner.prefix], [partitioner.sha256, S]);
    assertEquals([...Deno.readDirSync(`${folder}/partitioner`)].map(({ name }) => name).sort(), [
      "ctbm.safetensors",
      "partitioner.json",
    ]);
    const expert = assignArgmax(await partitioner.costs(tokenRows(rows), [S]), 3);
    const names = [0, 1, 2].map((topic) => expert[topic + 3]);
    assertEquals(new Set(names).size, 3);
    const right = expert.filter((e, row) => e === names[row % 3]).length;
    assert(right > 220, `${right} of 240`);
  }));

Deno.test("ctbm's costs are squared distances of the prefix's embedding to the centres", () =>
  inFolder(async (folder) => {
    const { partitioner } = await learn(folder, topics(240));
    const path = `${folder}/partitioner/ctbm.safetensors`;
    const tensors = decodeSafetensors(await Deno.readFile(path), path);
    const [frequencies, vectors, centres] = ["frequencies", "vectors", "centres"].map((name) =>
      tensors.get(name)!
    );
    const d = centres.shape[1];
    const rows = [...topics(5, 2), [EOS, EOS], [7, EOS]];
    const costs = await partitioner.costs(tokenRows(rows), [4, S]);
    for (const [k, prefix] of [4, S].entries()) {
      rows.forEach((row, i) => {
        const point = new Array<number>(d).fill(0);
        for (const id of row.slice(0, prefix)) {
          if (id === EOS) continue;
          for (let j = 0; j < d; j++) {
            point[j] += frequencies.values[id] * vectors.values[id * d + j];
          }
        }
        const length = Math.hypot(...point) || 1;
        for (let e = 0; e < 3; e++) {
          const distance = point.reduce(
            (sum, x, j) => sum + (x / length - centres.values[e * d + j]) ** 2,
            0,
          );
          assert(Math.abs(costs[(k * rows.length + i) * 3 + e] - distance) < 1e-6);
        }
      });
    }
    assertEquals(await partitioner.costs(tokenRows(rows), [S]), costs.subarray(3 * rows.length));
    assertEquals(
      await partitioner.costs(tokenRows(rows.slice(2, 3)), [S]),
      costs.slice(3 * rows.length + 6, 3 * rows.length + 9),
    );
    assertEquals(await partitioner.costs(tokenRows([]), [S]), new Float32Array());
  }));

Deno.test("ctbm learns the same bytes again, on a seeded sample", () =>
  inFolder(async (folder) => {
    const rows = topics(240);
    const hashes = [];
    for (
      const settings of [{}, {}, { partitionerSample: 60 }, { partitionerSample: 60, seed: 2 }]
    ) {
      const { learned } = await learn(folder, rows, settings);
      hashes.push(learned.sha256);
      assertEquals(learned.result.sampled, "partitionerSample" in settings ? 60 : 240);
    }
    assertEquals(hashes[0], hashes[1]);
    assertEquals(new Set(hashes).size, 3);
    assertNotEquals(hashes[2], hashes[3]);
  }));

Deno.test("ctbm refuses fewer sequences than experts, and text without a word", () =>
  inFolder(async (folder) => {
    await assertRejects(
      () => learn(folder, topics(2)),
      InputError,
      "at least as many sequences to learn on as experts: there are 2, experts is 3",
    );
    await assertRejects(
      () => learn(folder, topics(9), { partitionerSample: 2 }),
      InputError,
      "there are 2, experts is 3",
    );
    await assertRejects(
      () => learn(folder, Array.from({ length: 5 }, () => [EOS, EOS])),
      InputError,
      "a token apart from the end of the text: none has",
    );
  }));

Deno.test("ctbm refuses files that are damaged or do not fit", () =>
  inFolder(async (folder) => {
    await learn(folder, topics(30));
    const at = `${folder}/partitioner`;
    const about = JSON.parse(await Deno.readTextFile(`${at}/partitioner.json`));
    const open = () => openPartitioner(at, noDevice);
    await Deno.writeTextFile(
      `${at}/partitioner.json`,
      JSON.stringify({ ...about, vocabulary: VOCABULARY + 1 }),
    );
    await assertRejects(open, InputError, "must have the shape");
    await Deno.writeTextFile(`${at}/ctbm.safetensors`, "no");
    await assertRejects(open, InputError, "whole safetensors file");
  }));
