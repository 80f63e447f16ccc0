import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { InputError, wordText } from "../../../kernels/errors.ts";
import { openGpu } from "../../../kernels/device/gpu.ts";
import { fromBatch, type RecordBatch, toBatch } from "../../../pipeline/rows/arrow.ts";
import { type Lineage, readLineage } from "../../../pipeline/rows/lineage.ts";
import { type Columns, sliceColumns } from "../../../pipeline/rows/columns.ts";
import type { Routers } from "../../../pipeline/model/checkpoints/checkpoint.ts";
import { createPartitioner } from "../../../pipeline/partition/em/partitioner.ts";
import { initialWeights } from "../../../pipeline/model/parameters.ts";
import { createScorer } from "../../../pipeline/model/scorer.ts";
import { routedPredictions, score, type ScoreOptions } from "../../../pipeline/partition/score.ts";

const gpu = await openGpu();
const S = 12;
const config = { vocabulary: 50, hidden: 8, layers: 1, heads: 2, context: S };
const routers: Routers = {
  config,
  models: [initialWeights(config, 1), initialWeights(config, 2), initialWeights(config, 3)],
  notes: { tokenizer: "t1", prefix: 8, eos: 0 },
  sha256: "routers-hash",
};
const partitioner = createPartitioner(routers, () => Promise.resolve(gpu));
const lineage: Lineage = {
  format: 1,
  stage: "tokenize",
  sequenceLength: S,
  vocabulary: 50,
  eos: 0,
  tokenizer: "t1",
  seed: 9,
};

function someRows(rows: number): Columns {
  return {
    rows,
    sequence: BigUint64Array.from({ length: rows }, (_, i) => BigInt(i + 7)),
    document: BigUint64Array.from({ length: rows }, (_, i) => BigInt(i)),
    source: Array.from({ length: rows }, (_, i) => `s${i % 2}`),
    tokens: Uint16Array.from({ length: rows * S }, (_, i) => (i * 31) % 50),
    length: Uint32Array.from({ length: rows }, (_, i) => 2 + i % (S - 1)),
  };
}

function stream(
  columns: Columns,
  size: number,
  from: Lineage = lineage,
): ReadableStream<RecordBatch> {
  return ReadableStream.from(function* () {
    yield toBatch(sliceColumns(columns, 0, 0), from); // batches without rows are legal anywhere
    for (let at = 0; at < columns.rows; at += size) {
      yield toBatch(sliceColumns(columns, at, Math.min(at + size, columns.rows)), from);
    }
  }());
}

async function run(source: ReadableStream<RecordBatch>, changes: Partial<ScoreOptions> = {}) {
  const nll: number[] = [];
  const ids: number[] = [];
  let last: RecordBatch | undefined;
  for await (const batch of score(source, { partitioner, ...changes })) {
    const columns = fromBatch(batch);
    nll.push(...columns.nll!);
    ids.push(...Array.from(columns.sequence, Number));
    last = batch;
  }
  return { nll, ids, last: last! };
}

Deno.test("score() tells once of how many sequences the partitioner knows nothing", async () => {
  const knowing: typeof partitioner = {
    ...partitioner,
    unknown: ({ source }) => source!.filter((label) => label === "s0").length,
  };
  const warnings: string[] = [];
  const onWarning: ScoreOptions["onWarning"] = (message) => warnings.push(wordText(message));
  await run(stream(someRows(1500), 700), { partitioner: knowing, onWarning });
  await run(stream(someRows(1), 1), { partitioner: knowing, onWarning });
  assertEquals(warnings.map((text) => text.split(":")[0]), [
    "750 sequences have no label that training had",
    "1 sequence has no label that training had",
  ]);
  let reported = 0;
  await run(stream(someRows(7), 2), {
    partitioner: knowing,
    onWarning,
    onUnknown: (rows) => reported += rows,
  });
  await run(stream(someRows(7), 2), { onWarning, onUnknown: () => reported = NaN });
  assertEquals([reported, warnings.length], [4, 2]);
});

Deno.test("score() gives what the scorer gives, in the order of the rows, however they come", async () => {
  const rows = someRows(1500);
  const scorer = createScorer(gpu, { config, models: routers.models, batch: 100, length: 8 });
  const expected = [...await scorer.score(rows.tokens!, S, rows.length)];
  scorer.close();
  for (const size of [1500, 700, 13]) {
    const { nll, ids } = await run(stream(rows, size));
    assertEquals(nll, expected);
    assertEquals(ids, Array.from(rows.sequence, Number));
  }
  const few = createPartitioner(routers, () => Promise.resolve(gpu), { batch: 3 });
  assertEquals((await run(stream(rows, 1500), { partitioner: few, prefix: 8 })).nll, expected);
  few.close();
});

Deno.test("score() adds to the lineage, keeps or drops tokens, and replaces older scores", async () => {
  const { last } = await run(stream(someRows(5), 5), {});
  assertEquals(readLineage(last), {
    ...lineage,
    stage: "score",
    prefix: 8,
    experts: 3,
    routers: "routers-hash",
  });
  assertEquals(fromBatch(last).tokens, someRows(5).tokens);
  assertEquals(
    fromBatch((await run(stream(someRows(5), 5), { dropTokens: true })).last).tokens,
    undefined,
  );
  const again = await run(ReadableStream.from([last]), { prefix: 4 });
  assertEquals(readLineage(again.last)!.prefix, 4);
  assertEquals(again.nll, (await run(stream(someRows(5), 5), { prefix: 4 })).nll);
});

Deno.test("score() gives one batch without rows, columns and all, for input without rows", async () => {
  const { last, nll } = await run(stream(someRows(0), 1));
  assertEquals([last.numRows, nll.length], [0, 0]);
  assertEquals(last.schema.fields.map(({ name }) => name), [
    "sequence",
    "document",
    "source",
    "tokens",
    "length",
    "nll",
  ]);
});

Deno.test("score() takes other tools' batches that have no rows at first, and goes by the first rows", async () => {
  const warnings: string[] = [];
  const onWarning: ScoreOptions["onWarning"] = (message) => warnings.push(wordText(message));
  const batches = (...all: Columns[]) =>
    ReadableStream.from(all.map((columns) => {
      const batch = toBatch(columns, lineage);
      batch.schema.metadata.clear();
      return batch;
    }));
  const { nll, last } = await run(batches(someRows(0), someRows(0), someRows(3)), { onWarning });
  assertEquals(nll, (await run(stream(someRows(3), 3))).nll);
  assertEquals([readLineage(last)!.sequenceLength, warnings.length], [S, 1]);
  await assertRejects(
    () => run(batches(someRows(0), someRows(3)), { prefix: 13 }),
    InputError,
    `the sequences have ${S} tokens`,
  );
  assertEquals((await run(batches(someRows(0)))).last.numRows, 0);
});

Deno.test("score() refuses other tokenizers, prefixes beyond S, ids beyond the vocabulary and rows without tokens", async () => {
  const rows = someRows(3);
  await assertRejects(
    () => run(stream(rows, 3, { ...lineage, tokenizer: "t2" })),
    InputError,
    "t2",
  );
  await assertRejects(() => run(stream(rows, 3), { prefix: 13 }), InputError, "prefix is 13");
  assertThrows(
    () => score(stream(rows, 3), { partitioner, prefix: 0 }),
    InputError,
    "use prefix as it must be",
  );
  rows.tokens![S + 2] = 50;
  await assertRejects(() => run(stream(rows, 3)), InputError, "id is 50, vocabulary is 50");
  const { tokens: _, ...bare } = someRows(3);
  await assertRejects(
    () => run(ReadableStream.from([toBatch(bare, lineage)])),
    InputError,
    'a column "tokens"',
  );
});

Deno.test("score() refuses sequences of another length than their schema says, in the first batch as in others", async () => {
  const { tokens, length, ...rows } = someRows(4);
  const half = {
    ...rows,
    tokens: Uint16Array.from(Array(4 * S / 2), (_, i) => tokens![i]),
    length: length.map((tokens) => Math.min(tokens, S / 2)),
  };
  await assertRejects(
    () => run(ReadableStream.from([toBatch(half, lineage)]), { prefix: 4 }),
    InputError,
    "all sequences must have 12 tokens: these have 6",
  );
});

Deno.test("routedPredictions() counts the prompt alone, and of one token still one", () => {
  const rows = { length: Uint32Array.of(40, 40, 3, 40), begin: Uint32Array.of(3, 1, 9, 0) };
  assertEquals([...routedPredictions(rows, 16)], [2, 1, 2, 15]);
  assertEquals([...routedPredictions({ length: rows.length }, 16)], [15, 15, 2, 15]);
});
