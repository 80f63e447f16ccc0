import { assert, assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../../kernels/errors.ts";
import { routersHash, saveCheckpoint } from "../../../../pipeline/model/checkpoints/checkpoint.ts";
import { createScorer } from "../../../../pipeline/model/scorer.ts";
import { createPartitioner, em } from "../../../../pipeline/partition/em/partitioner.ts";
import { writeDescription } from "../../../../pipeline/partition/partitioner.ts";
import { gpu } from "../../../kernels/support.ts";
import { inFolder } from "../../../tasks/support.ts";
import { anyRouters, anyRows, ROUTER, S } from "../../evaluation/support.ts";

const E = 3;
const M = 6;
const routers = anyRouters(E, { tokenizer: "ab12", prefix: M, eos: 0 });
const device = () => Promise.resolve(gpu);
const makeTokenRows = (rows: number) => {
  const { tokens, length, source } = anyRows(rows);
  return { tokens: tokens!, sequenceLength: S, length, source };
};

/** What one scorer says of the rows `[rows, prefixes, E]`. */
async function scored(rows: ReturnType<typeof makeTokenRows>, prefixes: number[], batch: number) {
  const { config, models } = routers;
  const length = prefixes.at(-1)!;
  const several = prefixes.length > 1 ? prefixes : undefined;
  const scorer = createScorer(gpu, { config, models, batch, length, prefixes: several });
  const nll = await scorer.score(rows.tokens, rows.sequenceLength, rows.length);
  scorer.close();
  return nll;
}

/** Writes the routers into a folder as a run does; returns the hash of each one's weights. */
async function writeRouters(folder: string): Promise<string[]> {
  const hashes: string[] = [];
  for (const [i, model] of routers.models.entries()) {
    const records = await saveCheckpoint(`${folder}/router-0${i}`, ROUTER, model, routers.notes);
    hashes.push(records["model.safetensors"].sha256);
  }
  return hashes;
}

Deno.test("costs() of one prefix have the bits of a scorer of that length, whatever the company", async () => {
  const partitioner = createPartitioner(routers, device);
  const rows = makeTokenRows(300);
  const expected = await scored(rows, [M], 256);
  assertEquals(await partitioner.costs(rows, [M]), expected);
  for (const row of [0, 7, 299]) {
    const one = {
      tokens: rows.tokens.subarray(row * S, (row + 1) * S),
      sequenceLength: S,
      length: rows.length.subarray(row, row + 1),
    };
    assertEquals(await partitioner.costs(one, [M]), expected.subarray(row * E, (row + 1) * E));
  }
  partitioner.close();
  const few = createPartitioner(routers, device, { batch: 7 });
  assertEquals(await few.costs(rows, [M]), expected);
  few.close();
});

Deno.test("costs() of several prefixes are those of one pass, prefix by prefix", async () => {
  const partitioner = createPartitioner(routers, device);
  const prefixes = [2, 5, S];
  const rows = makeTokenRows(20);
  const expected = await scored(rows, prefixes, 32);
  const costs = await partitioner.costs(rows, prefixes);
  const at = (p: number, row: number) => (row * prefixes.length + p) * E;
  const byPrefix = prefixes.flatMap((_, p) =>
    [...rows.length.keys()].flatMap((row) => [...expected.subarray(at(p, row), at(p, row) + E)])
  );
  assertEquals([...costs], byPrefix);
  assertEquals((await partitioner.costs(makeTokenRows(0), [M])).length, 0);
  partitioner.close();
});

Deno.test("costs() may be asked for many prefixes at once, more than scorers are kept", async () => {
  const partitioner = createPartitioner(routers, device);
  const rows = makeTokenRows(3);
  const lengths = [2, 3, 4, 5, 6, 7, 2, 3];
  const costs = await Promise.all(lengths.map((length) => partitioner.costs(rows, [length])));
  for (const [i, length] of lengths.entries()) {
    assertEquals(costs[i], await scored(rows, [length], 4));
  }
  const wrong = { ...rows, tokens: rows.tokens.map(() => 999) };
  await assertRejects(() => partitioner.costs(wrong, [M]), InputError, "999");
  assertEquals(await partitioner.costs(rows, [2]), costs[0]);
  partitioner.close();
});

Deno.test("open() and identify() take a folder of routers, with and without its partitioner.json", () =>
  inFolder(async (folder) => {
    const sha256 = routersHash(await writeRouters(folder));
    assertEquals(await em.identify(folder), { sha256, experts: E });
    let opened = false;
    const partitioner = await em.open(folder, () => {
      opened = true;
      return device();
    });
    const { kind, experts, prefix, vocabulary, tokenizer, eos } = partitioner;
    const expected = {
      kind: "em",
      experts: E,
      prefix: M,
      vocabulary: 13,
      tokenizer: "ab12",
      eos: 0,
    };
    assertEquals({ kind, experts, prefix, vocabulary, tokenizer, eos }, expected);
    assertEquals([partitioner.sha256, opened], [sha256, false]);
    const rows = makeTokenRows(5);
    assertEquals(await partitioner.costs(rows, [M]), await scored(rows, [M], 8));
    assert(opened);
    partitioner.close();
    await writeDescription(folder, expected);
    assertEquals(await em.identify(folder), { sha256, experts: E });
    await saveCheckpoint(`${folder}/router-01`, ROUTER, routers.models[2], routers.notes);
    assert((await em.identify(folder)).sha256 !== sha256);
    await writeDescription(folder, { ...expected, experts: 4 });
    for (const read of [() => em.identify(folder), () => em.open(folder, device)]) {
      await assertRejects(
        read,
        InputError,
        "the 4 routers that its partitioner.json speaks of: it holds 3",
      );
    }
    await Deno.remove(`${folder}/router-00`, { recursive: true });
    await assertRejects(() => em.identify(folder), InputError, "it holds 0");
  }));
