import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import type { Configuration } from "../../../pipeline/settings/configuration.ts";
import { resolveConfiguration } from "../../../pipeline/settings/resolution.ts";
import {
  fromBatch,
  readArrow,
  readShards,
  type RecordBatch,
  toBatch,
  writeArrowFile,
} from "../../../pipeline/rows/arrow.ts";
import { type Lineage, lineageOf } from "../../../pipeline/rows/lineage.ts";
import { type Columns, concatColumns, sliceColumns, takeColumns } from "../../../pipeline/rows/columns.ts";
import { writeShards } from "../../../pipeline/rows/shards.ts";
import { routersHash } from "../../../pipeline/checkpoints/routers.ts";
import { assign } from "../../../pipeline/partition/assignment/assign.ts";
import { joinScores } from "../../../pipeline/rows/join.ts";
import { split } from "../../../pipeline/partition/split.ts";
import { verifyRun } from "../../../pipeline/stages/verify.ts";
import { writeRunConfiguration } from "../../../pipeline/run/configuration.ts";
import { type FileRecord, hashFile, sha256, shortHash, writeAtomic } from "../../../pipeline/run/files.ts";
import { readManifest, stageKey, writeManifest } from "../../../pipeline/run/manifest.ts";
import { graphOf } from "../../../pipeline/stages/graph.ts";
import { valuesOf } from "../../../pipeline/stages/state.ts";
import { InputError, wordText } from "../../../kernels/errors.ts";
import { words } from "../../../tasks/wording.ts";

const STAGES = ["corpus", "tokenizer", "tokenize", "train-routers", "score", "assign", "split"] as const;
type Stage = typeof STAGES[number];
type Outputs = Record<Stage, Record<string, FileRecord>>;

const E = 3;
const TOKENIZER = "a tokenizer";
const ROUTERS = ["router 0", "router 1", "router 2"];
const LINEAGE: Lineage = {
  format: 1,
  stage: "tokenize",
  sequenceLength: 4,
  vocabulary: 99,
  eos: 0,
  tokenizer: sha256(TOKENIZER),
};
const SCORED: Lineage = {
  ...LINEAGE,
  stage: "score",
  prefix: 3,
  routers: routersHash(ROUTERS.map((router) => sha256(router))),
  experts: E,
};
const CONFIGURATION: Configuration = resolveConfiguration({
  flags: { experts: E, sequenceLength: 4, prefix: 3, chunk: 12, shardSequences: 16 },
});

/** What tokenizing came to; here they only need to be there. */
const COUNTS = {
  ...{ documents: 1, tokens: 1, trainSequences: 1, testSequences: 1, droppedTails: 0 },
  ...{ vocabulary: 99, eos: 0, tokenizer: sha256(TOKENIZER) },
};

/** Rows with tokens and scores; their ids rise by 3, in no order. */
function rowsOf(rows: number, first: number): Columns {
  const of = (perRow: number) => Array.from({ length: rows * perRow }, (_, i) => i + first * perRow);
  return {
    rows,
    sequence: BigUint64Array.from(of(1), (i) => BigInt(first + 3 * ((i * 17) % rows))),
    document: BigUint64Array.from(of(1), (i) => BigInt(i >> 1)),
    source: of(1).map((i) => ["news", "", "law"][i * i % 3]),
    tokens: Uint16Array.from(of(4), (i) => (i * 31) % 99),
    length: Uint32Array.from(of(1), (i) => 2 + i % 3),
    nll: Float32Array.from(of(E), (i) => (i * 7919) % 101),
  };
}
const ROWS = { train: rowsOf(50, 100), test: rowsOf(20, 1000) };

async function writeAll(
  run: string,
  folder: string,
  kind: string,
  batches: ReadableStream<RecordBatch>,
  outputs: Record<string, FileRecord>,
) {
  await Deno.mkdir(`${run}/${folder}`, { recursive: true });
  for await (const { name, bytes, sha256 } of writeShards(`${run}/${folder}`, kind, batches, 16)) {
    outputs[`${folder}/${name}`] = { bytes, sha256 };
  }
}

/** Makes what a partition leaves in a run folder, but for the text and the training. */
async function makeRun(run: string, configuration = CONFIGURATION) {
  await writeRunConfiguration(run, configuration);
  const outputs = Object.fromEntries(STAGES.map((stage) => [stage, {}])) as Outputs;
  outputs.tokenizer["tokenizer.json"] = await writeAtomic(`${run}/tokenizer.json`, TOKENIZER);
  for (const [i, router] of ROUTERS.entries()) {
    const path = `routers/router-0${i}/model.safetensors`;
    outputs["train-routers"][path] = await writeAtomic(`${run}/${path}`, router);
  }
  for (const kind of ["train", "test"] as const) {
    const { nll, ...tokens } = ROWS[kind];
    const { tokens: _, ...scores } = ROWS[kind];
    assert(nll);
    await writeAll(run, "tokens", kind, ReadableStream.from([toBatch(tokens, LINEAGE)]), outputs.tokenize);
    await writeAll(run, "scores", kind, ReadableStream.from([toBatch(scores, SCORED)]), outputs.score);
  }
  const shards = (stage: Stage, start: string) =>
    readShards(
      Object.keys(outputs[stage]).filter((path) => path.startsWith(start)).map((path) => `${run}/${path}`),
    );
  const { method, chunk } = configuration;
  const assigned = assign(shards("score", "scores/train"), { chunk, method: method as "balanced" });
  await writeAll(run, "assignments", "train", assigned, outputs.assign);
  const partition = await split({
    train: joinScores(shards("tokenize", "tokens/train"), shards("assign", "assignments/train")),
    test: joinScores(shards("tokenize", "tokens/test"), shards("score", "scores/test")),
  }, { folder: `${run}/partition`, shardSequences: 16 });
  for (const [path, record] of Object.entries(partition.outputs)) outputs.split[`partition/${path}`] = record;
  await recordAll(run, outputs, configuration);
  return outputs;
}

/** Writes the manifests of all stages, as they are where each was made from what the one before it made. */
async function recordAll(run: string, outputs: Outputs, configuration = CONFIGURATION) {
  const routers = Object.keys(outputs["train-routers"]).sort().map((path) =>
    outputs["train-routers"][path].sha256
  );
  const context = { run, configuration };
  for (const stage of graphOf(configuration).partition) {
    const { name, revision } = stage;
    const values = await valuesOf(stage, context);
    const inputs = { ...await stage.inputs(context, (before) => readManifest(run, before)) };
    const key = stageKey(name, revision, values, inputs);
    const results: Record<string, Record<string, unknown>> = {
      tokenize: COUNTS,
      "train-routers": { routers: routersHash(routers) },
    };
    const made = { outputs: outputs[name as Stage], result: results[name] ?? {} };
    await writeManifest(run, { stage: name, revision, key, configuration: values, inputs }, made);
  }
}

/** Makes a run, changes something in it, and returns the problems, one line each, without the remedies. */
async function problemsAfter(
  change: (run: string, outputs: Outputs) => Promise<unknown>,
  configuration = CONFIGURATION,
): Promise<string[]> {
  const run = await Deno.makeTempDir();
  try {
    const outputs = await makeRun(run, configuration);
    await change(run, outputs);
    const { problems } = await verifyRun(run);
    for (const { file, what, remedy } of problems) {
      assert(file.length > 0 && wordText(what).length > 0 && wordText(remedy).length > 0);
      assert(!`${file}${wordText(what)}`.includes("\n"));
    }
    return problems.map(({ file, what }) => `${file}: ${wordText(what)}`.replaceAll(`${run}/`, ""));
  } finally {
    await Deno.remove(run, { recursive: true });
  }
}

/** Changes the rows of an Arrow file, and all that manifests say of it, so that only the rows are wrong. */
async function changeRows(
  run: string,
  outputs: Outputs,
  stage: Stage,
  path: string,
  change: (columns: Columns) => Columns,
  lineage: Partial<Lineage> = {},
) {
  const batches = await Array.fromAsync(readArrow(`${run}/${path}`));
  const changed = change(concatColumns(batches.map((batch) => fromBatch(batch))));
  const batch = toBatch(changed, { ...lineageOf(batches[0])!, ...lineage });
  const { rows, ...record } = await writeArrowFile(`${run}/${path}`, ReadableStream.from([batch]));
  outputs[stage][path] = record;
  if (stage === "split") {
    const [, folder, name] = path.split("/");
    const tokens = changed.length.reduce((a, b) => a + b, 0);
    const part = await readJson(`${run}/partition/${folder}/manifest.json`);
    part.files = part.files.map((file: { name: string }) =>
      file.name === name ? { name, rows, tokens, ...record } : file
    );
    await changeManifest(run, outputs, folder, () => part);
  }
  await recordAll(run, outputs);
}

// deno-lint-ignore no-explicit-any
const readJson = async (path: string): Promise<any> => JSON.parse(await Deno.readTextFile(path));

/** Changes the manifest of an expert's folder, or of the partition (""), and the hashes of it. */
async function changeManifest(
  run: string,
  outputs: Outputs,
  folder: string,
  // deno-lint-ignore no-explicit-any
  change: (manifest: any) => unknown,
) {
  const path = `partition/${folder ? folder + "/" : ""}manifest.json`;
  const record = await writeAtomic(
    `${run}/${path}`,
    JSON.stringify(change(await readJson(`${run}/${path}`))),
  );
  outputs.split[path] = record;
  await recordAll(run, outputs);
  if (folder) {
    await changeManifest(run, outputs, "", (manifest) => {
      for (const part of manifest.parts) if (part.folder === folder) part.sha256 = record.sha256;
      return manifest;
    });
  }
}

Deno.test("verifyRun() finds nothing wrong with a run that is whole, and says how much it checked", async () => {
  const run = await Deno.makeTempDir();
  try {
    const outputs = await makeRun(run);
    const all = Object.values(outputs).flatMap((files) => Object.values(files));
    const seen: string[] = [];
    const report = await verifyRun(run, ({ phase, done, total }) => {
      assert(done <= total);
      seen.push(`${phase} ${done === total}`);
    });
    assertEquals(report, {
      files: all.length,
      bytes: all.reduce((sum, { bytes }) => sum + bytes, 0),
      trainSequences: 50,
      testSequences: 20,
      loads: [17, 17, 16],
      problems: [],
    });
    assertEquals(seen.filter((line) => line.endsWith("true")), ["files true", "rows true", "rows true"]);
  } finally {
    await Deno.remove(run, { recursive: true });
  }
});

Deno.test("verifyRun() takes an unbalanced partition and routers from elsewhere", async () => {
  assertEquals(await problemsAfter(() => Promise.resolve(), { ...CONFIGURATION, method: "argmax" }), []);
  const problems = await problemsAfter(async (run) => {
    await Deno.rename(`${run}/routers`, `${run}/elsewhere`);
    await Deno.remove(`${run}/manifests/train-routers.json`);
    await writeRunConfiguration(run, { ...CONFIGURATION, routers: `${run}/elsewhere` });
  });
  assertEquals(problems, []);
});

Deno.test("verifyRun() verifies the part of an expert that was copied to a folder of its own", async () => {
  const [run, alone] = [await Deno.makeTempDir(), await Deno.makeTempDir()];
  try {
    await makeRun(run);
    const folder = "partition/expert-01";
    await Deno.mkdir(`${alone}/${folder}`, { recursive: true });
    for await (const { name } of Deno.readDir(`${run}/${folder}`)) {
      await Deno.copyFile(`${run}/${folder}/${name}`, `${alone}/${folder}/${name}`);
    }
    for (const name of ["config.json", "tokenizer.json"]) {
      await Deno.copyFile(`${run}/${name}`, `${alone}/${name}`);
    }
    const { problems, parts, loads, trainSequences } = await verifyRun(alone);
    assertEquals({ problems, parts, loads, trainSequences }, {
      problems: [],
      parts: [1],
      loads: [17],
      trainSequences: 17,
    });

    const wrong = async () =>
      (await verifyRun(alone)).problems.map(({ file, what, remedy }) => {
        assertStringIncludes(wordText(remedy), "copy the expert's folder");
        return `${file}: ${wordText(what)}`;
      });
    await Deno.writeTextFile(`${alone}/tokenizer.json`, "another tokenizer");
    const [tokenizer] = await wrong();
    assertStringIncludes(tokenizer, "must have the same tokenizer");
    await Deno.remove(`${alone}/tokenizer.json`);
    assertEquals(await wrong(), ["tokenizer.json: it must be there: it is not"]);
    await Deno.copyFile(`${run}/tokenizer.json`, `${alone}/tokenizer.json`);

    // The expert that was trained there.
    const model = "experts/expert-01/model.safetensors";
    const outputs = { [model]: await writeAtomic(`${alone}/${model}`, "weights") };
    const identity = { stage: "train-expert-01", revision: 1, key: "k", configuration: {}, inputs: {} };
    await writeManifest(alone, identity, { outputs, result: {} });
    assertEquals((await verifyRun(alone)).problems, []);
    await Deno.writeTextFile(`${alone}/${model}`, "changed");
    const checkpoint = "experts/expert-01/checkpoints/step-00000001.safetensors";
    await writeAtomic(`${alone}/${checkpoint}`, "damaged");
    await writeAtomic(`${alone}/manifests/train-dense.json`, "{");
    const [note, changed, state, ...others] = (await verifyRun(alone)).problems;
    assertEquals([note.file, changed.file, state.file, others], [
      "manifests/train-dense.json",
      model,
      checkpoint,
      [],
    ]);
    assertStringIncludes(wordText(changed.what), "the content changed");
    assertStringIncludes(wordText(changed.remedy, words), `train-expert --run ${alone} --expert 1 --force`);
    for (const path of ["experts", "manifests"]) await Deno.remove(`${alone}/${path}`, { recursive: true });

    await Deno.rename(`${alone}/${folder}`, `${alone}/partition/expert-07`);
    assertStringIncludes((await wrong())[0], "it must be in the folder of its expert: it is that of 1");
    await Deno.rename(`${alone}/partition/expert-07`, `${alone}/${folder}`);

    await Deno.truncate(`${alone}/${folder}/train-00000.arrow`, 300);
    assertStringIncludes((await wrong())[0], `${folder}/train-00000.arrow: it must have`);
    await Deno.writeTextFile(`${alone}/${folder}/manifest.json`, "{");
    assertStringIncludes((await wrong())[0], "must be a part's manifest");
  } finally {
    for (const path of [run, alone]) await Deno.remove(path, { recursive: true });
  }
});

Deno.test("verifyRun() refuses a folder that is no run", async () => {
  const run = await Deno.makeTempDir();
  await assertRejects(() => verifyRun(run), InputError, "must be a run folder");
  await assertRejects(() => verifyRun(`${run}/none`), InputError, "must be a run folder");
  await Deno.remove(run);
});

Deno.test("verifyRun() finds files that are missing, changed, cut or too many", async () => {
  const shard = "partition/expert-01/train-00000.arrow";
  const flip = async (path: string, at: number) => {
    const bytes = await Deno.readFile(path);
    bytes[at] ^= 1;
    await Deno.writeFile(path, bytes);
  };
  const [missing] = await problemsAfter((run) => Deno.remove(`${run}/${shard}`));
  assertStringIncludes(missing, `${shard}: it must be there`);

  const [changed] = await problemsAfter(async (run) => {
    await flip(`${run}/${shard}`, (await Deno.stat(`${run}/${shard}`)).size >> 1);
  });
  assertStringIncludes(changed, `${shard}: its SHA-256 must be`);

  const [cut] = await problemsAfter((run) => Deno.truncate(`${run}/${shard}`, 300));
  assertStringIncludes(cut, `${shard}: it must have`);
  assertStringIncludes(cut, "bytes: it has 300");

  const extra = await problemsAfter(async (run) => {
    await Deno.copyFile(`${run}/${shard}`, `${run}/partition/expert-01/train-00007.arrow`);
    await Deno.writeTextFile(`${run}/tokens/train-00009.arrow.partial`, "");
  });
  assertEquals(extra, [
    "tokens/train-00009.arrow.partial: a manifest must name it: none does",
    "partition/expert-01/train-00007.arrow: a manifest must name it: none does",
  ]);

  const [tokenizer] = await problemsAfter((run) => flip(`${run}/tokenizer.json`, 0));
  assertStringIncludes(tokenizer, "tokenizer.json: its SHA-256");
});

Deno.test("verifyRun() finds stages that have not run and manifests that are not there", async () => {
  assertEquals(await problemsAfter((run) => Deno.remove(`${run}/manifests/corpus.json`)), [
    `manifests/corpus.json: stage "corpus" must have run: it has not`,
  ]);
  const [damaged] = await problemsAfter((run) => Deno.writeTextFile(`${run}/manifests/score.json`, "{"));
  assertStringIncludes(damaged, "manifests/score.json: Cannot read");
  const none = await problemsAfter((run) => Deno.remove(`${run}/partition`, { recursive: true }));
  assert(none.some((line) => line.includes("partition/manifest.json") && line.includes("missing")));
  const [part] = await problemsAfter(async (run, outputs) => {
    const path = `partition/expert-00/manifest.json`;
    outputs.split[path] = await writeAtomic(
      `${run}/${path}`,
      (await Deno.readTextFile(`${run}/${path}`)) + " ",
    );
    await recordAll(run, outputs);
  });
  assertStringIncludes(part, "partition/expert-00/manifest.json: its SHA-256");
  const [config] = await problemsAfter((run) => Deno.remove(`${run}/config.json`));
  assertEquals(config, "config.json: it must be there: it is not");
});

Deno.test("verifyRun() finds a manifest whose result lacks what the stages after it read", async () => {
  const found = await problemsAfter(async (run) => {
    const { outputs, result: { trainSequences: _, ...result }, ...identity } =
      (await readManifest(run, "tokenize"))!;
    await writeManifest(run, identity, { outputs, result });
  });
  assertEquals(found.length, 1, found.join("\n"));
  assertStringIncludes(
    found[0],
    'manifests/tokenize.json: Cannot read "manifests/tokenize.json" as its result',
  );
  assertStringIncludes(found[0], "trainSequences: ");
});

Deno.test("verifyRun() says once what is wrong with a file, with one mend that can be followed", async () => {
  const run = await Deno.makeTempDir();
  const partition = `run deno task partition --run ${run}`;
  const shard = "partition/expert-01/train-00000.arrow";
  const cases: [file: string, remedy: string, change: (path: string) => Promise<unknown>][] = [
    ["partition/manifest.json", partition, (path) => Deno.remove(path)],
    ["partition/expert-01/manifest.json", partition, (path) => Deno.remove(path)],
    [shard, partition, (path) => Deno.remove(path)],
    [shard, partition, (path) => Deno.truncate(path, 300)],
    ["tokens/train-00001.arrow", partition, (path) => Deno.truncate(path, 300)],
    ["scores/train-00001.arrow", partition, (path) => Deno.truncate(path, 300)],
    [
      "tokenizer.json",
      `remove it and ${partition}`,
      (path) => Deno.writeTextFile(path, "x".repeat(TOKENIZER.length)),
    ],
    [
      "config.json",
      "copy config.json back, or run the same deno task partition with all",
      (path) => Deno.remove(path),
    ],
    [
      "tokenizer.json",
      `remove it and ${partition}`,
      async (path) => {
        await Deno.remove(path);
        await Deno.mkdir(path);
      },
    ],
    ["config.json", "copy it again, or remove it and run the same", (path) => Deno.writeTextFile(path, "{")],
    ["manifests/split.json", "remove it to run the stage again", (path) => Deno.writeTextFile(path, "{")],
    ["manifests/split.json", partition, (path) => Deno.remove(path)],
    ["manifests/assign.json", partition, (path) => Deno.remove(path)],
    ["manifests/tokenize.json", partition, (path) => Deno.remove(path)],
  ];
  try {
    for (const [file, start, change] of cases) {
      await makeRun(run);
      await change(`${run}/${file}`);
      const { problems } = await verifyRun(run);
      assertEquals(problems.map(({ file }) => file), [file]);
      const [what, remedy] = [problems[0].what, problems[0].remedy].map((text) => wordText(text, words));
      assert(remedy.startsWith(start), `${file}: ${remedy}`);
      assert(!`${what}; ${remedy}`.replace("; ", "").includes("; "), `${file}: ${what}; ${remedy}`);
      await Deno.remove(run, { recursive: true });
    }
  } finally {
    await Deno.remove(run, { recursive: true }).catch(() => {});
  }
});

Deno.test("verifyRun() finds what does not belong to the run", async () => {
  const change = async (run: string, outputs: Outputs, stage: Stage, path: string, text: string) => {
    outputs[stage][path] = await writeAtomic(`${run}/${path}`, text);
    await recordAll(run, outputs);
  };
  const tokenizer = await problemsAfter((run, outputs) =>
    change(run, outputs, "tokenizer", "tokenizer.json", "another")
  );
  assertEquals(tokenizer, [
    `partition/manifest.json: its tokenizer must be that of the run: it is ${
      shortHash(LINEAGE.tokenizer!)
    }, in the run it is ${shortHash(sha256("another"))}`,
  ]);
  const path = "routers/router-01/model.safetensors";
  const [routers] = await problemsAfter((run, outputs) =>
    change(run, outputs, "train-routers", path, "another")
  );
  assertStringIncludes(routers, "its routers must be that of the run");
  const [absent] = await problemsAfter(async (run, outputs) => {
    await Deno.remove(`${run}/${path}`);
    delete outputs["train-routers"][path];
    await recordAll(run, outputs);
  });
  assertStringIncludes(absent, "must hold 3 routers: it holds 1");
  const [stale, ...prefix] = await problemsAfter((run) =>
    writeRunConfiguration(run, { ...CONFIGURATION, prefix: 2 })
  );
  assertStringIncludes(stale, 'stage "train-routers" must be up to date: prefix was 3, it is 2');
  assert(
    prefix.some((line) => line.endsWith("its prefix must be that of the run: it is 3, in the run it is 2")),
  );
  const shard = await problemsAfter((run, outputs) =>
    changeRows(run, outputs, "split", "partition/expert-02/train-00000.arrow", (rows) => rows, {
      tokenizer: "ee",
    })
  );
  assertEquals(shard.length, 1);
  assertStringIncludes(shard[0], "tokenizer is ee in the former");
});

Deno.test("verifyRun() goes on where a checkpoint is a folder, or no checkpoint", async () => {
  const folder = "experts/expert-00/checkpoints";
  const [second, first, ...others] = await problemsAfter(async (run) => {
    await Deno.mkdir(`${run}/${folder}/step-00000002.safetensors`, { recursive: true });
    await Deno.writeTextFile(`${run}/${folder}/step-00000004.safetensors`, "cut");
  });
  assertStringIncludes(first, "step-00000002.safetensors: it must be readable: Is a directory");
  assertStringIncludes(second, "as it must be a whole safetensors file: it has 3 bytes");
  assertEquals(others, []);
});

const SHARD = "partition/expert-01/train-00000.arrow";

Deno.test("verifyRun() finds a training row that is missing, with its place among the tokens", async () => {
  let id = 0n;
  const problems = await problemsAfter((run, outputs) =>
    changeRows(run, outputs, "split", SHARD, (rows) => {
      id = rows.sequence[5];
      return takeColumns(rows, [...rows.sequence.keys()].filter((row) => row !== 5));
    })
  );
  assertEquals(problems.length, 3, problems.join("\n"));
  assertStringIncludes(problems[0], `sequence ${id} must be in one expert's shards`);
  const row = ROWS.train.sequence.indexOf(id);
  const place = `tokens/train-0000${Math.floor(row / 16)}.arrow, batch 0, row ${row % 16}`;
  assert(problems[0].startsWith(place), `${problems[0]} should begin with ${place}`);
  assertStringIncludes(problems[1], "train sequences must be 49: it says 50");
  assertStringIncludes(problems[2], "train sequences must be 16: it says 17");
});

Deno.test("verifyRun() finds a row that is there twice, in one expert or two", async () => {
  const within = await problemsAfter((run, outputs) =>
    changeRows(
      run,
      outputs,
      "split",
      SHARD,
      (rows) => takeColumns(rows, [0, 1, 2, 2, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]),
    )
  );
  assert(
    within.some((line) => line.startsWith(`${SHARD}, batch 0, row 3: 2 rows must not be here`)),
    within.join("\n"),
  );
  const between = await problemsAfter(async (run, outputs) => {
    const [batch] = await Array.fromAsync(readArrow(`${run}/${SHARD}`));
    const twice = sliceColumns(fromBatch(batch), 4, 5);
    await changeRows(
      run,
      outputs,
      "split",
      "partition/expert-02/train-00000.arrow",
      (rows) => concatColumns([rows, twice]),
    );
  });
  assert(
    between.includes(
      "partition/expert-02/train-00000.arrow, batch 0, row 16: the tokens have no more rows, or not in this order: " +
        "1 follow here",
    ),
    between.join("\n"),
  );
});

Deno.test("verifyRun() finds values that are not those of the tokens and the scores", async () => {
  const changes: [keyof Columns, (rows: Columns) => Columns][] = [
    ["tokens", (rows) => ({ ...rows, tokens: rows.tokens!.map((token, i) => i === 9 ? 98 - token : token) })],
    [
      "length",
      (rows) => ({ ...rows, length: rows.length.map((tokens, i) => i === 2 ? tokens % 3 + 2 : tokens) }),
    ],
    ["source", (rows) => ({ ...rows, source: rows.source!.map((source, i) => i === 2 ? "else" : source) })],
    ["document", (rows) => ({ ...rows, document: rows.document!.map((id, i) => i === 2 ? id + 1n : id) })],
    ["nll", (rows) => ({ ...rows, nll: rows.nll!.map((nats, i) => i === 7 ? nats + 1 : nats) })],
  ];
  for (const [name, change] of changes) {
    const problems = await problemsAfter((run, outputs) => changeRows(run, outputs, "split", SHARD, change));
    const wanted = `${SHARD}, batch 0, row 2: ${name} of sequence`;
    assert(problems.some((line) => line.startsWith(wanted)), `${wanted}\n${problems.join("\n")}`);
  }
  const noSource = await problemsAfter((run, outputs) =>
    changeRows(run, outputs, "split", SHARD, ({ source: _, ...rows }) => rows)
  );
  assert(noSource.some((line) => line.includes(`row 0: source of sequence`)), noSource.join("\n"));
});

Deno.test("verifyRun() finds assignments that are not those of the scores", async () => {
  const recorded = await problemsAfter((run, outputs) =>
    changeRows(run, outputs, "assign", "assignments/train-00001.arrow", (rows) => ({
      ...rows,
      expert: rows.expert!.map((expert, row) => row === 3 ? (expert + 1) % E : expert),
    }))
  );
  assertEquals(recorded.length, 1);
  assertStringIncludes(recorded[0], "assignments/train-00001.arrow, batch 0, row 3: expert of sequence");

  const chunk = await problemsAfter((run) => writeRunConfiguration(run, { ...CONFIGURATION, chunk: 24 }));
  assert(chunk.some((line) => line.includes("must be with the expert of its scores")), chunk.join("\n"));

  const swapped = await problemsAfter((run, outputs) =>
    changeRows(
      run,
      outputs,
      "assign",
      "assignments/train-00000.arrow",
      (rows) => takeColumns(rows, [1, 0, ...Array.from({ length: 14 }, (_, i) => i + 2)]),
    )
  );
  assertEquals(swapped.length, 1);
  assertStringIncludes(swapped[0], "assignments must follow the tokens");
});

Deno.test("verifyRun() finds loads that are not balanced where they must be", async () => {
  const problems = await problemsAfter(async (run, outputs) => {
    await writeRunConfiguration(run, CONFIGURATION);
    await changeManifest(run, outputs, "", (manifest) => {
      manifest.lineage.method = "balanced";
      return manifest;
    });
  }, { ...CONFIGURATION, method: "argmax" });
  assert(
    problems.some((line) => /expert 2 must have 16 of 50 training sequences: it has/.test(line)),
    problems.join("\n"),
  );
});

Deno.test("verifyRun() finds counts that are not those of the rows", async () => {
  const problems = await problemsAfter((run, outputs) =>
    changeManifest(run, outputs, "expert-01", (part) => {
      part.files[0].tokens++;
      part.test.sequences++;
      return part;
    })
  );
  assertEquals(problems.length, 2, problems.join("\n"));
  assertStringIncludes(problems[0], "train-00000.arrow must have 16 rows and");
  assertStringIncludes(problems[1], "its test sequences must be");
  const [total] = await problemsAfter((run, outputs) =>
    changeManifest(run, outputs, "", (manifest) => {
      manifest.train.sequences++;
      return manifest;
    })
  );
  assertStringIncludes(total, "its train sequences must be 50: it says 51");
});

Deno.test("verifyRun() ends a comparison where nothing fits", async () => {
  const rows = { train: rowsOf(200, 5000), test: ROWS.test };
  const before = ROWS.train;
  try {
    ROWS.train = rows.train;
    const problems = await problemsAfter(async (run, outputs) => {
      for (const path of Object.keys(outputs.split).filter((path) => /expert.*train/.test(path))) {
        await changeRows(run, outputs, "split", path, (columns) => ({
          ...columns,
          sequence: columns.sequence.map((id) => id + 100_000n),
        }));
      }
    });
    assertEquals(problems.length, 100);
  } finally {
    ROWS.train = before;
  }
});

Deno.test("verifyRun() changes nothing", async () => {
  const run = await Deno.makeTempDir();
  try {
    const outputs = await makeRun(run);
    await verifyRun(run);
    for (const files of Object.values(outputs)) {
      for (const [path, record] of Object.entries(files)) {
        assertEquals(await hashFile(`${run}/${path}`), record);
      }
    }
  } finally {
    await Deno.remove(run, { recursive: true });
  }
});
