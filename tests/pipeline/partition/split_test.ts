import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { emptyBatch, fromBatch, readArrow, type RecordBatch, toBatch } from "../../../pipeline/rows/arrow.ts";
import { lineageOf } from "../../../pipeline/rows/lineage.ts";
import { type Columns, concatColumns, takeColumns } from "../../../pipeline/rows/columns.ts";
import { assignArgmax } from "../../../pipeline/partition/assignment/argmax.ts";
import {
  nllPerToken,
  normalizedMutualInformation,
  regret,
  shares,
} from "../../../pipeline/partition/metrics.ts";
import { expertFolder } from "../../../pipeline/partition/manifests.ts";
import { type Partition, split, type SplitOptions } from "../../../pipeline/partition/split.ts";
import { hashFile } from "../../../pipeline/run/files.ts";
import { inFolder } from "../../tasks/support.ts";
import { batchesOf, E, LINEAGE, PREFIX, rowsOf } from "./support.ts";

const ROWS = rowsOf(50);
const TEST_ROWS = rowsOf(20, 1000);

const splitRows = (folder: string, rows = 11, options: Partial<SplitOptions> = {}): Promise<Partition> => {
  const inputs = { train: batchesOf(ROWS, rows), test: batchesOf(TEST_ROWS, rows) };
  return split(inputs, { folder, shardSequences: 7, ...options });
};

/** The rows of an expert's files of one kind, in order. */
async function readPart(
  folder: string,
  { parts }: Partition,
  expert: number,
  kind: string,
): Promise<Columns> {
  const columns: Columns[] = [];
  for (const { name } of parts[expert].files.filter(({ name }) => name.startsWith(kind))) {
    for await (const batch of readArrow(`${folder}/${expertFolder(expert)}/${name}`)) {
      columns.push(fromBatch(batch));
    }
  }
  return concatColumns(columns);
}

const rowsWhere = (expert: Uint16Array, e: number) => [...expert.keys()].filter((row) => expert[row] === e);

async function tree(folder: string): Promise<Record<string, string>> {
  const hashes: Record<string, string> = {};
  const walk = async (path: string) => {
    for await (const { name, isDirectory } of Deno.readDir(`${folder}/${path}`)) {
      if (isDirectory) await walk(`${path}${name}/`);
      else hashes[path + name] = (await hashFile(`${folder}/${path}${name}`)).sha256;
    }
  };
  await walk("");
  return Object.fromEntries(Object.entries(hashes).sort());
}

Deno.test("split() gives each expert its training rows in order, and the held-out rows that cost it least", async () => {
  await inFolder(async (folder) => {
    const partition = await splitRows(folder);
    const routed = assignArgmax(TEST_ROWS.nll!, E);
    for (let e = 0; e < E; e++) {
      for (
        const [kind, { expert: _, ...rows }, chosen] of [["train", ROWS, ROWS.expert!], [
          "test",
          TEST_ROWS,
          routed,
        ]] as const
      ) {
        assertEquals(await readPart(folder, partition, e, kind), takeColumns(rows, rowsWhere(chosen, e)));
      }
    }
    assertEquals([partition.manifest.test!.sequences, partition.manifest.test!.regret], [20, 0]);
  });
});

Deno.test("split() fills each shard, and counts the rows of its partition and of every part", async () => {
  await inFolder(async (folder) => {
    const { manifest, parts } = await splitRows(folder);
    const { nll, expert, length, source } = ROWS;
    const predictedOf = (length: Uint32Array) => length.map((tokens) => Math.min(PREFIX, tokens) - 1);
    const predicted = predictedOf(length), nmi = normalizedMutualInformation(expert!, source!);
    assertEquals([manifest.train.sequences, manifest.train.regret], [
      50,
      regret(nll!, expert!, E, predicted),
    ]);
    assertEquals(manifest.train.shares, shares(nll!, E));
    assert(nmi > 0 && Math.abs(manifest.train.nmi! - nmi) < 1e-12);
    for (const { expert: e, files, train } of parts) {
      const own = takeColumns(ROWS, rowsWhere(expert!, e));
      assertEquals(train.nllPerToken, nllPerToken(own.nll!, own.expert!, E, predictedOf(own.length)));
      const trained = files.filter(({ name }) => name.startsWith("train"));
      assert(trained.length > 1 && trained.slice(0, -1).every(({ rows }) => rows === 7));
      for (const count of ["sequences", "tokens"] as const) {
        const inShards = trained.reduce((sum, shard) => sum + shard[count === "tokens" ? count : "rows"], 0);
        assertEquals(
          [train[count], inShards],
          Array(2).fill(
            count === "tokens" ? own.length.reduce((a, b) => a + b, 0) : own.rows,
          ),
        );
      }
    }
  });
});

Deno.test("split() writes what it returns, with the lineage of the rows", async () => {
  await inFolder(async (folder) => {
    const { manifest, parts, outputs } = await splitRows(folder, 11, { config: "beef" });
    const read = async (path: string) => JSON.parse(await Deno.readTextFile(`${folder}/${path}`));
    assertEquals(await read("manifest.json"), manifest);
    for (const part of parts) assertEquals(await read(`${expertFolder(part.expert)}/manifest.json`), part);
    const written = await tree(folder);
    const hashes = Object.entries(outputs).map(([path, { sha256 }]) => [path, sha256]).sort();
    assertEquals(written, Object.fromEntries(hashes));
    assertEquals(manifest.parts[1], { folder: "expert-01", sha256: written["expert-01/manifest.json"] });

    const lineage = { ...LINEAGE, stage: "split", config: "beef" };
    assertEquals(manifest.lineage, lineage);
    for (const [kind, method] of [["train", "balanced"], ["test", "argmax"]]) {
      const [batch] = await Array.fromAsync(readArrow(`${folder}/expert-00/${kind}-00000.arrow`));
      assertEquals(lineageOf(batch), { ...lineage, method });
    }
  });
});

Deno.test("split() gives the same bytes however rows come in batches, again and over an earlier partition", async () => {
  await inFolder(async (folder) => {
    await splitRows(folder);
    const first = await tree(folder);
    await splitRows(folder, 50);
    assertEquals(await tree(folder), first);

    await splitRows(folder, 50, { shardSequences: 2 });
    assert(Object.keys(await tree(folder)).length > Object.keys(first).length);
    await Deno.writeTextFile(`${folder}/expert-00/train-00099.arrow.partial`, "half");
    await Deno.mkdir(`${folder}/expert-07`);
    await Deno.writeTextFile(`${folder}/expert-07/train-00000.arrow`, "of more experts");
    await splitRows(folder, 1);
    assertEquals(await tree(folder), first);
    assertThrows(() => Deno.statSync(`${folder}/expert-07`), Deno.errors.NotFound);
    const mine = ["notes.txt", "expert-00/notes.txt", "expert-09/model.safetensors"]; // not of a partition
    await Deno.mkdir(`${folder}/expert-09`);
    for (const name of mine) await Deno.writeTextFile(`${folder}/${name}`, "mine");
    await splitRows(folder);
    for (const name of mine) assertEquals(await Deno.readTextFile(`${folder}/${name}`), "mine");
  });
});

Deno.test("split() gives an expert without rows one shard with the full schema", async () => {
  await inFolder(async (folder) => {
    const columns = { ...ROWS, expert: new Uint16Array(50).fill(2) };
    const partition = await split({ train: batchesOf(columns, 10) }, { folder, shardSequences: 100 });
    assertEquals(partition.parts.map(({ files }) => files.map(({ rows }) => rows)), [[0], [0], [50]]);
    assertEquals(partition.parts[0].train, { sequences: 0, tokens: 0, nllPerToken: 0, sources: {} });
    assertEquals(partition.parts[0].test, undefined);
    const [none] = await Array.fromAsync(readArrow(`${folder}/expert-00/train-00000.arrow`));
    const [full] = await Array.fromAsync(readArrow(`${folder}/expert-02/train-00000.arrow`));
    assertEquals(String(none.schema), String(full.schema));
    assertEquals(none.schema.metadata, full.schema.metadata);
  });
});

Deno.test("split() takes input without rows, and held-out input without batches", async () => {
  await inFolder(async (folder) => {
    const empty = emptyBatch(["document", "source", "tokens", "nll", "expert"], LINEAGE);
    const inputs = { train: ReadableStream.from([empty, empty]), test: ReadableStream.from([]) };
    const { manifest, parts } = await split(inputs, { folder, shardSequences: 5 });
    assertEquals(manifest.train, {
      sequences: 0,
      tokens: 0,
      nllPerToken: 0,
      regret: 0,
      nmi: null,
      tokenImbalance: 0,
      shares: [0, 0, 0],
    });
    assertEquals([manifest.experts, manifest.test], [3, undefined]);
    assertEquals(parts.map(({ files }) => files.map(({ name, rows }) => [name, rows])), [
      ...Array(3).fill([["train-00000.arrow", 0]]),
    ]);
  });
});

Deno.test("split() leaves measures per token out where M is unknown", async () => {
  await inFolder(async (folder) => {
    const train = batchesOf(ROWS, 20, { ...LINEAGE, prefix: undefined });
    const { manifest, parts } = await split({ train }, { folder, shardSequences: 50 });
    assertEquals([manifest.train.nllPerToken, manifest.train.regret], [null, null]);
    assertEquals(parts.map((part) => part.train.nllPerToken), [null, null, null]);
  });
});

Deno.test("split() takes rows without documents, sources and lineage", async () => {
  await inFolder(async (folder) => {
    const { document: _, source: __, ...columns } = ROWS;
    const batch = toBatch(columns, LINEAGE);
    batch.schema.metadata.clear();
    const partition = await split({ train: ReadableStream.from([batch]) }, {
      folder,
      shardSequences: 50,
      prefix: PREFIX,
    });
    assertEquals(Object.keys(partition.parts[0].train.sources), [""]);
    assertEquals(partition.manifest.lineage.sequenceLength, 4);
    const { expert, ...rest } = columns;
    assertEquals(await readPart(folder, partition, 1, "train"), takeColumns(rest, rowsWhere(expert!, 1)));
  });
});

Deno.test("split() refuses input that does not fit, and then leaves no manifest and nothing half-written", async () => {
  const run = (train: RecordBatch[], options: Partial<SplitOptions> = {}, test?: RecordBatch[]) =>
    inFolder(async (folder) => {
      const inputs = {
        train: ReadableStream.from(train),
        test: test && ReadableStream.from(test),
      };
      try {
        await split(inputs, { folder, shardSequences: 7, ...options });
      } catch (error) {
        for (const name of Object.keys(await tree(folder))) {
          assert(!name.endsWith(".partial") && name !== "manifest.json", `${name} is left`);
        }
        throw error;
      }
    });
  const good = toBatch(ROWS, LINEAGE);
  const strange = toBatch({ ...ROWS, expert: ROWS.expert!.map((e, row) => row === 20 ? 3 : e) }, LINEAGE);
  const foreign = toBatch({ ...ROWS, nll: new Float32Array(100) }, { ...LINEAGE, experts: 2 });
  foreign.schema.metadata.clear();

  const other = toBatch(TEST_ROWS, { ...LINEAGE, tokenizer: "ee" });
  const unknown = emptyBatch(["tokens", "nll", "expert"], { ...LINEAGE, experts: undefined });
  const refused: [train: RecordBatch[], Partial<SplitOptions>, message: string, test?: RecordBatch[]][] = [
    [[good], { shardSequences: 0 }, "use shardSequences as it must be"],
    [[], {}, "there are none"],
    ...["tokens", "nll", "expert"].map((name): typeof refused[number] => [
      [toBatch({ ...ROWS, [name]: undefined }, LINEAGE)],
      {},
      `must have a column "${name}"`,
    ]),
    [[good, strange], {}, "row 20, as expert must be below 3: expert is 3"],
    [[good], { experts: 4 }, "experts is 3 in the former, 4 in the latter"],
    [[foreign], { experts: 4 }, "nll has 2 values per row, experts is 4"],
    [[good], { prefix: 2 }, "prefix is 3 in the former, 2 in the latter"],
    [[good, foreign], {}, "nll has 2 values per row, experts is 3"],
    [[good, other], {}, "tokenizer is ee in the former, ab12 in the latter"],
    [[good], {}, "tokenizer is ee in the former, ab12 in the latter", [other]],
    [[unknown], {}, "does not say; set experts"],
  ];
  for (const [train, options, message, test] of refused) {
    await assertRejects(() => run(train, options, test), InputError, message);
  }
});

Deno.test("split() stops with the error of its source, or of a shard that cannot be written", async () => {
  await inFolder(async (folder) => {
    let closed = false;
    const source = (error?: Error) =>
      ReadableStream.from(async function* () {
        try {
          for (let i = 0; i < 1000; i++) {
            yield toBatch(ROWS, LINEAGE);
            await Promise.resolve();
            if (error && i === 30) throw error;
          }
        } finally {
          closed = true;
        }
      }());
    await assertRejects(
      () => split({ train: source(new Error("cut short")) }, { folder, shardSequences: 5 }),
      Error,
      "cut short",
    );
    assert(closed);
    closed = false;
    const blocked = `${folder}/blocked`;
    await Deno.mkdir(blocked);
    await Deno.writeTextFile(`${blocked}/expert-02`, "a file where a folder must be");
    await assertRejects(
      () => split({ train: source() }, { folder: blocked, shardSequences: 5 }),
      Error,
      "expert-02",
    );
    assert(closed, "the source goes on");
    assert(!Object.keys(await tree(blocked)).some((name) => name.endsWith(".partial")));
  });
});

Deno.test("split() reads no faster than it writes", async () => {
  await inFolder(async (folder) => {
    let ahead = 0;
    let most = 0;
    const train = ReadableStream.from(function* () {
      for (let i = 0; i < 30; i++) {
        most = Math.max(most, ++ahead);
        yield toBatch(ROWS, LINEAGE);
      }
    }());
    await split({ train }, { folder, shardSequences: 5, onProgress: () => ahead-- });
    assert(most <= 2, `${most} batches were read ahead`);
  });
});
