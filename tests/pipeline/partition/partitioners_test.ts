import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { fromBatch, readArrow } from "../../../pipeline/rows/arrow.ts";
import { lineageOf } from "../../../pipeline/rows/lineage.ts";
import { type Columns, concatColumns, takeColumns } from "../../../pipeline/rows/columns.ts";
import { assign } from "../../../pipeline/partition/assignment/assign.ts";
import { identifiedBy, readDescription, writeDescription } from "../../../pipeline/partition/folder.ts";
import type { PartitionerKind } from "../../../pipeline/partition/partitioner.ts";
import {
  identifyPartitioner,
  kindOf,
  openPartitioner,
  partitionerFolder,
  PARTITIONERS,
  routesByPrefix,
} from "../../../pipeline/partition/partitioners.ts";
import { expertFolder } from "../../../pipeline/partition/manifests.ts";
import { score } from "../../../pipeline/partition/score.ts";
import { split } from "../../../pipeline/partition/split.ts";
import { type Configuration, defaultConfiguration } from "../../../pipeline/settings/configuration.ts";
import { inFolder } from "../../tasks/support.ts";
import { batchesOf, E, LINEAGE, noDevice, PREFIX, rowsOf } from "./support.ts";

Deno.test("kindOf() finds every kind that text can be split by, and lists them where it is another", () => {
  for (const [name, kind] of PARTITIONERS) {
    if (kind.splits) assertEquals(kindOf({ partitioner: name }), kind);
    else assertThrows(() => kindOf({ partitioner: name }), InputError, "must be one of em, ");
  }
  assertThrows(() => kindOf({ partitioner: "topic" }), InputError, 'it is "topic"');
});

/** Sends each sequence to the expert of its first token, modulo E: the farther an expert's id is from that, the more it costs. */
const toy: PartitionerKind = {
  kind: "toy",
  about: "the first token, modulo the number of experts",
  routes: true,
  splits: true,
  settings: ["experts", "prefix"],
  revision: 1,
  async learn({ configuration: { experts, prefix }, folder, tokens: { tokenizer, vocabulary, eos } }) {
    const description = { kind: "toy", experts, prefix, tokenizer, vocabulary, eos };
    const file = await writeDescription(folder, description);
    return { outputs: { "partitioner/partitioner.json": file }, sha256: file.sha256, result: {} };
  },
  async open(folder) {
    const description = (await readDescription(folder))!;
    const { experts } = description;
    return {
      ...description,
      sha256: (await toy.identify(folder)).sha256,
      costs({ tokens, sequenceLength, length }, prefixes) {
        const costs = prefixes.flatMap(() =>
          [...length.keys()].flatMap((row) =>
            Array.from({ length: experts }, (_, e) => Math.abs(e - tokens[row * sequenceLength] % experts))
          )
        );
        return Promise.resolve(Float32Array.from(costs));
      },
      close() {},
    };
  },
  identify: identifiedBy("partitioner.json"),
};

const DESCRIPTION = { kind: "toy", experts: E, prefix: PREFIX, tokenizer: "ab12", vocabulary: 99, eos: 0 };

const withToy = (body: (folder: string) => Promise<void>) =>
  inFolder(async (folder) => {
    PARTITIONERS.set("toy", toy);
    try {
      await body(folder);
    } finally {
      PARTITIONERS.delete("toy");
    }
  });

Deno.test("a kind that a script adds is opened by its folder; what it says is scored, assigned and split by", () =>
  withToy(async (folder) => {
    await writeDescription(`${folder}/partitioner`, DESCRIPTION);
    const partitioner = await openPartitioner(`${folder}/partitioner`, noDevice);
    const identity = await identifyPartitioner(`${folder}/partitioner`);
    assertEquals(identity, { sha256: partitioner.sha256, experts: E });

    const { nll: _nll, expert: _expert, ...rows } = rowsOf(60, 0);
    const { routers: _routers, method: _method, ...lineage } = LINEAGE;
    const scores = () => score(batchesOf(rows, 7, { ...lineage, stage: "tokenize" }), { partitioner });
    const partition = await split({
      train: assign(scores(), { chunk: 30, method: "argmax" }),
      test: scores(),
    }, { folder: `${folder}/partition`, shardSequences: 100 });
    assertEquals(partition.manifest.lineage.routers, identity.sha256);
    const home = Array.from({ length: 60 }, (_, row) => rows.tokens![row * 4] % E);
    for (let expert = 0; expert < E; expert++) {
      const own = [...home.keys()].filter((row) => home[row] === expert);
      assert(own.length > 0);
      for (const kind of ["train", "test"]) {
        const path = `${folder}/partition/${expertFolder(expert)}/${kind}-00000.arrow`;
        const batches = await Array.fromAsync(readArrow(path));
        const { nll, ...found } = concatColumns(batches.map((batch) => fromBatch(batch)));
        assertEquals(found, takeColumns(rows as Columns, own));
        assertEquals(nll!.length, own.length * E);
        assertEquals(lineageOf(batches[0])!.prefix, PREFIX);
      }
    }
    assertEquals([partition.manifest.train.regret, partition.manifest.train.nllPerToken], [0, 0]);

    const balanced = await Array.fromAsync(assign(scores(), { chunk: 30 }), (batch) => fromBatch(batch));
    const loads = Array(E).fill(0);
    for (const expert of concatColumns(balanced).expert!) loads[expert]++;
    assertEquals(loads, [20, 20, 20]);
    partitioner.close();
  }));

Deno.test("routesByPrefix() goes by the run's kind, or by that of the folder that it takes its partitioner from", () =>
  withToy(async (folder) => {
    await writeDescription(`${folder}/source`, { ...DESCRIPTION, kind: "source" });
    await writeDescription(`${folder}/toy`, DESCRIPTION);
    await Deno.mkdir(`${folder}/damaged`);
    await Deno.writeTextFile(`${folder}/damaged/partitioner.json`, "{");
    const runs: [settings: Partial<Configuration>, routes: boolean][] = [
      [{}, true],
      [{ partitioner: "source" }, false],
      [{ routers: `${folder}/source` }, false],
      [{ partitioner: "source", routers: `${folder}/toy` }, true],
      ...["damaged", "gone"].map((name): [object, boolean] => [{ routers: `${folder}/${name}` }, true]),
    ];
    assertEquals(await routesByPrefix(folder), true);
    for (const [settings, routes] of runs) {
      const configuration = { ...defaultConfiguration(), ...settings };
      await Deno.writeTextFile(`${folder}/config.json`, JSON.stringify({ configuration, versions: {} }));
      assertEquals(await routesByPrefix(folder), routes, JSON.stringify(settings));
    }
  }));

Deno.test("openPartitioner() and identifyPartitioner() refuse folders without a partitioner, of other kinds, and damaged ones", () =>
  withToy(async (folder) => {
    const refusal = async (place: string) => {
      const error = await assertRejects(() => openPartitioner(place, noDevice), InputError);
      await assertRejects(() => identifyPartitioner(place), InputError, error.message);
      return error;
    };
    const nothing = await refusal(`${folder}/nothing`);
    assert(nothing.message.endsWith("or router-00: it is not there"), nothing.message);
    await writeDescription(`${folder}/run/partitioner`, { ...DESCRIPTION, kind: "none" });
    // the run itself, the folder's former name, and others beside it and inside it
    for (const wrong of ["", "/routers", "/scores", "/partitioner/router-00"]) {
      await Deno.mkdir(`${folder}/run${wrong}`, { recursive: true });
      assertEquals((await refusal(`${folder}/run${wrong}`)).remedy, `name ${folder}/run/partitioner`);
    }
    await Deno.remove(`${folder}/run/partitioner/router-00`);
    const other = await refusal(`${folder}/run/partitioner`);
    assert(other.message.endsWith("must be em or ctbm or random or source or self or toy: it is none"));
    const path = `${folder}/run/partitioner/partitioner.json`;
    for (const text of ["{", "[]", JSON.stringify({ format: 2, ...DESCRIPTION }), '{"format":1}']) {
      await Deno.writeTextFile(path, text);
      assertEquals((await refusal(`${folder}/run/partitioner`)).where, path);
    }
  }));

Deno.test("partitionerFolder() finds what is named, what the run has, and routers of a run made before there were kinds", () =>
  withToy(async (run) => {
    assertEquals(await partitionerFolder(run), `${run}/partitioner`);
    await Deno.mkdir(`${run}/routers/router-00`, { recursive: true });
    assertEquals(await partitionerFolder(run), `${run}/routers`);
    await writeDescription(`${run}/partitioner`, DESCRIPTION);
    assertEquals(await partitionerFolder(run), `${run}/partitioner`);
    assertEquals(await partitionerFolder(run, `${run}/routers`), `${run}/routers`);
    assertEquals(await partitionerFolder(run, `${run}/none`), `${run}/partitioner`);
  }));
