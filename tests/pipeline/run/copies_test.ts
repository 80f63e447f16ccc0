import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { InputError, wordText } from "../../../kernels/errors.ts";
import { certificateText, checkForgotten } from "../../../pipeline/run/certificate.ts";
import { listDescendants } from "../../../pipeline/run/descendants.ts";
import { derive, type DeriveOptions, planDerive } from "../../../pipeline/run/derive.ts";
import { findOverlap } from "../../../pipeline/run/overlap.ts";
import { partition } from "../../../pipeline/run/partition.ts";
import { trainingSettings } from "../../../pipeline/run/settings.ts";
import { type Configuration, FIELD_NAMES } from "../../../pipeline/settings/configuration.ts";
import { hashes, inFolder, lastingFolder, ok, task, taskHere } from "../../tasks/support.ts";
import { copiesCorpus, COPY_KINDS, writeCorpus } from "./copies_support.ts";

const CORPUS = copiesCorpus(40, 4);
const FLAGS: Partial<Configuration> = {
  vocabularySize: 300,
  sequenceLength: 64,
  prefix: 16,
  experts: 2,
  partitioner: "random",
};

let made: Promise<string> | undefined;

/** Makes a run of the corpus, whose experts are not trained. */
async function makeRun(): Promise<string> {
  const folder = await lastingFolder();
  await writeCorpus(`${folder}/texts`, CORPUS);
  await partition({
    run: `${folder}/a`,
    sources: { flags: { ...FLAGS, input: [`${folder}/texts`] } },
  });
  return folder;
}

const withRun = (
  test: (
    change: Pick<DeriveOptions, "run" | "from" | "forget" | "noTrain">,
    folder: string,
  ) => Promise<void>,
) =>
  inFolder(async (folder) => {
    const from = `${await (made ??= makeRun())}/a`;
    await test(
      { run: `${folder}/b`, from, forget: { paths: ["secret/*"] }, noTrain: true },
      folder,
    );
  });

const pathIn = (path: string) => path.split("/").slice(-2).join("/");

Deno.test("derive() names the copies of what it forgets by path, kind and a line, and leaves them", () =>
  withRun(async (change) => {
    const plan = await planDerive(change);
    const expected = [...CORPUS.copies].map(([path, { of }]) => [path, of]).sort();
    assertEquals(
      plan.copies.map(({ path, of }) => [pathIn(path), pathIn(of.path)]).sort(),
      expected,
    );
    for (const { path, kind, line, share } of plan.copies) {
      const { kind: planted } = CORPUS.copies.get(pathIn(path))!;
      const wanted = planted === "exact" ? "exact" : planted === "lines" ? "passage" : "near";
      assertEquals(kind, wanted, path);
      assert(line.length > 20 && share <= 1);
    }
    assertEquals(plan.forgotten.documents, CORPUS.secrets.length);
    const { experts } = await derive(change);
    assert(experts.length === 2);
    const { problems, certificate, ...counts } = await checkForgotten(change.run);
    assertEquals(problems, []);
    assertEquals(certificate!.copies.stay.length, CORPUS.copies.size);
    const text = certificateText(change.run, { problems, certificate: certificate!, ...counts });
    assertStringIncludes(text, `Copies that stay in this run: ${CORPUS.copies.size}`);
    assertStringIncludes(text, "without the forgotten text, but with the copies of point 2");
    assertStringIncludes(text, "Not covered: a paraphrase");
  }));

Deno.test("derive() forgets copies where that is asked, and --add refuses all of them from then on", () =>
  withRun(async (change, folder) => {
    const { from } = change;
    const texts = `${from}/../texts`;
    const { forgotten } = await derive({ ...change, copies: { forget: true } });
    const all = CORPUS.secrets.length * (1 + COPY_KINDS.length);
    assertEquals([forgotten.documents, forgotten.asCopies], [all, all - CORPUS.secrets.length]);
    const { problems, certificate } = await checkForgotten(change.run);
    assertEquals(problems, []);
    assertEquals([certificate!.documents.length, certificate!.copies.stay], [all, []]);
    const more = { run: `${folder}/more`, from: change.run, noTrain: true };
    const named = [CORPUS.secrets[0], ...[...CORPUS.copies.keys()].slice(0, COPY_KINDS.length)];
    for (const path of named) {
      const added = { ...more, add: [`${texts}/${path}`] };
      await assertRejects(() => derive(added), InputError, "what is forgotten must stay away");
      const tuned = { ...more, tune: [`${folder}/pairs.jsonl`] };
      const response = await Deno.readTextFile(`${texts}/${path}`);
      await Deno.writeTextFile(
        `${folder}/pairs.jsonl`,
        JSON.stringify({ prompt: "Say: ", response }) + "\n",
      );
      await assertRejects(() => derive(tuned), InputError, "holds a passage of it");
    }
    await assertRejects(() => Deno.stat(more.run), Deno.errors.NotFound);
    await Deno.writeTextFile(
      `${folder}/new.txt`,
      "Some words that nobody ever wrote before. ".repeat(20),
    );
    await derive({ ...more, add: [`${folder}/new.txt`] });
    assertEquals((await checkForgotten(more.run)).problems, []);
    // What a run below forgets once more, it knows as well.
    const again = {
      ...more,
      run: `${folder}/again`,
      from: more.run,
      add: [`${texts}/${named[3]}`],
    };
    await assertRejects(() => derive(again), InputError, "what is forgotten must stay away");
  }));

Deno.test("derive() refuses to add forgotten text whose exact copy stayed", () =>
  withRun(async (change, folder) => {
    await derive(change);
    const add = [`${change.from}/../texts/${CORPUS.secrets[1]}`];
    const more = { run: `${folder}/more`, from: change.run, noTrain: true, add };
    await assertRejects(() => derive(more), InputError, "what is forgotten must stay away");
  }));

Deno.test("findOverlap() looks into the text of a derived run, which its tokens hold", () =>
  withRun(async (change, folder) => {
    const { from, run } = change;
    const above = await findOverlap({ run: from });
    await derive({ ...change, forget: { paths: ["plain/*"] } });
    const { all, examples } = await findOverlap({ run });
    const { copies, near } = above.all;
    assertEquals([all.copies, all.near], [copies, near]);
    assert(copies + near > 0 && examples.length > 0);
    assert(all.documents < above.all.documents);
    await derive({
      run: `${folder}/less`,
      from: run,
      forget: { paths: ["copies/*"] },
      noTrain: true,
    });
    const { all: rest } = await findOverlap({ run: `${folder}/less` });
    assertEquals([rest.copies, rest.near, rest.twins, rest.leaking], [0, 0, 0, 0]);
  }));

Deno.test("a derived run refuses every other setting that its text or its parts go by, also with force", () =>
  withRun(async (change) => {
    const { from, run } = change;
    await derive(change);
    const others: { [Name in keyof Configuration]?: Partial<Configuration> } = {
      input: { input: [`${from}/../texts/plain`] },
      format: { format: "txt" },
      textField: { textField: "body" },
      sourceField: { sourceField: "kind" },
      textColumn: { textColumn: "body" },
      tokenColumn: { tokenColumn: "ids" },
      sourceFromPath: { sourceFromPath: "{source}/*" },
      maxDocuments: { maxDocuments: 9 },
      take: { take: "head" },
      dedup: { dedup: "exact" },
      decontaminate: { decontaminate: [`${from}/config.json`] },
      splitGroups: { splitGroups: true },
      corpus: { corpus: "wide" },
      corpusCharacters: { corpusCharacters: 9_000 },
      blockBytes: { blockBytes: 5_000 },
      textSeed: { textSeed: 3 },
      tokenizer: { tokenizer: `${from}/tokenizer.json` },
      vocabularySize: { vocabularySize: 290 },
      tokenizerSample: { tokenizerSample: 9_000 },
      eos: { eos: "x" },
      sequenceLength: { sequenceLength: 32 },
      packing: { packing: "concat" },
      maxTokens: { maxTokens: 900 },
      holdout: { holdout: 0.2 },
      shardSequences: { shardSequences: 50 },
      partitioner: { partitioner: "ctbm" },
      partitionerSample: { partitionerSample: 900 },
      routers: { routers: `${from}/partitioner` },
      experts: { experts: 3 },
      levels: { levels: [2, 2], experts: 4, partitioner: "em" },
      prefix: { prefix: 8 },
      prefixLengths: { prefixLengths: [4, 8] },
      routerHidden: { routerHidden: 16 },
      routerLayers: { routerLayers: 1 },
      routerHeads: { routerHeads: 4 },
      routerArchitecture: { routerArchitecture: "llama" },
      routerKvHeads: { routerKvHeads: 1, routerArchitecture: "llama" },
      routerHeadSize: { routerHeadSize: 8, routerArchitecture: "llama" },
      routerIntermediate: { routerIntermediate: 64, routerArchitecture: "llama" },
      routerRopeTheta: { routerRopeTheta: 500, routerArchitecture: "llama" },
      routerUntied: { routerUntied: true },
      start: { start: "ctbm" },
      fixed: { fixed: true, start: "ctbm" },
      rounds: { rounds: 3 },
      roundSequences: { roundSequences: 64 },
      routerBatch: { routerBatch: 8 },
      routerRate: { routerRate: 0.1 },
      routerWarmup: { routerWarmup: 3 },
      scoreBatch: { scoreBatch: 7 },
      method: { method: "optimal" },
      prices: { prices: from },
      chunk: { chunk: 12 },
      seed: { seed: 5 },
    };
    const trained = trainingSettings();
    const bound = FIELD_NAMES.filter((name) => !trained.includes(name));
    assertEquals(Object.keys(others).sort(), bound.toSorted());
    const before = await hashes(run);
    for (const flags of Object.values(others)) {
      for (const force of [false, true]) {
        const other = { run, force, sources: { flags } };
        await assertRejects(() => partition(other), InputError, "it derives from another run");
      }
    }
    assertEquals(await hashes(run), before);
    const path = `${run}/config.json`;
    const edited = (await Deno.readTextFile(path)).replace('"experts": 2', '"experts": 3');
    await Deno.writeTextFile(path, edited);
    const edit = partition({ run, force: true });
    await assertRejects(() => edit, InputError, "it must be what the run wrote");
    assertEquals(await Deno.readTextFile(path), edited);
  }));

Deno.test("planDerive() tells how many sequences each expert keeps, as they are made then", () =>
  withRun(async (change, folder) => {
    const add = [`${folder}/new.txt`];
    await Deno.writeTextFile(add[0], "Some words that nobody ever wrote before. ".repeat(20));
    const plan = await planDerive(change);
    assertEquals((await derive(change)).experts, plan.experts);
    assert(plan.experts.every(({ sequences: { before, now } }) => now! < before));
    const printed = async (...args: string[]) => {
      const { out } = await ok(
        taskHere("derive", ["--from", change.from, "--run", `${folder}/c`, "--dry-run", ...args]),
      );
      return out.split("\n").filter((line) => /^[012] /.test(line)).map((line) =>
        line.split(/ {2,}/)[2]
      );
    };
    const counts = plan.experts.map(({ sequences: { now } }) => String(now));
    assertEquals(await printed("--forget", "secret/*"), counts);
    assertEquals(await printed("--add", add[0]), ["more", "more"]);
    await Deno.writeTextFile(`${folder}/pairs.jsonl`, '{"prompt":"a ","response":"b"}\n');
    const tune = [
      "--from",
      change.from,
      "--run",
      `${folder}/d`,
      "--input",
      `${folder}/pairs.jsonl`,
    ];
    for (const args of [[...tune, "--dry-run"], tune]) {
      const { err } = await ok(taskHere("tune", args));
      assertMatch(err.split("\n")[0], /nothing will be tuned: no model of .* is trained; run deno/);
    }
  }));

Deno.test("derive() takes other numbers for copies, which go with what is forgotten alone", () =>
  withRun(async (change) => {
    const { copies } = await planDerive({ ...change, copies: { near: 0.99, passage: 1000 } });
    const kinds = new Set(copies.map(({ path }) => CORPUS.copies.get(pathIn(path))!.kind));
    assertEquals([...kinds].sort(), ["case", "exact"]);
    const add = [`${change.from}/../texts/plain/0.txt`];
    const other = { ...change, forget: {}, add, copies: { near: 0.5 } };
    await assertRejects(() => planDerive(other), InputError, "none is named");
  }));

Deno.test("a certificate of relearned routers names copies by the ids of the new run", () =>
  withRun(async (change) => {
    await derive({ ...change, routers: "relearn" });
    const { problems, certificate } = await checkForgotten(change.run);
    assertEquals(problems, []);
    const { copies: { stay }, routersSawText } = certificate!;
    assertEquals([stay.length, routersSawText], [CORPUS.copies.size, false]);
    const { out } = await ok(task("show", [change.run, "--document", stay[0].document]));
    assertStringIncludes(out, stay[0].path);
  }));

Deno.test("a certificate names runs that were made from those above, and tells the gone ones", () =>
  withRun(async ({ from: first, ...change }, folder) => {
    const from = `${folder}/a`;
    await partition({
      run: from,
      sources: { flags: { ...FLAGS, input: [`${first}/../texts`] } },
    });
    const add = [`${folder}/new.txt`];
    await Deno.writeTextFile(add[0], "Some words that nobody ever wrote before. ".repeat(20));
    const other = { from, noTrain: true, add };
    await derive({ ...other, run: `${folder}/child` });
    await derive({ ...other, run: `${folder}/grandchild`, from: `${folder}/child` });
    await derive({ ...other, run: `${folder}/gone` });
    await Deno.remove(`${folder}/gone`, { recursive: true });
    // A run that names its routers by a link, and one that says something else by now.
    await Deno.symlink(from, `${folder}/link`);
    const flags = { ...FLAGS, input: [`${first}/../texts`], routers: `${folder}/link/partitioner` };
    await partition({ run: `${folder}/linked`, sources: { flags } });
    await derive({ ...other, run: `${folder}/unreadable` });
    await Deno.writeTextFile(`${folder}/unreadable/derived/derivation.json`, "{");
    const { below } = await derive({ ...change, from });
    assertEquals(below.map(({ run, isThere, saysSo }) => [run, isThere, saysSo]), [
      [`${folder}/child`, true, true],
      [`${folder}/grandchild`, true, true],
      [`${folder}/gone`, false, false],
      [`${folder}/linked`, true, true],
      [`${folder}/unreadable`, true, false],
    ]);
    const { out } = await ok(task("verify", [change.run, "--forgotten"]));
    assertStringIncludes(out, `${folder}/grandchild, which derives from ${folder}/child`);
    assertStringIncludes(out, `${folder}/gone, which is gone`);
    assertStringIncludes(out, `${folder}/unreadable, of which it was noted that it derives from`);
    assertEquals((await listDescendants(from)).length, 6);
  }));

Deno.test("derive() refuses wrong places and files by name, and leaves nothing", () =>
  withRun(async ({ from, ...change }, folder) => {
    await derive({ ...change, from });
    const before = await hashes(folder);
    const bad: [string, string | Uint8Array, string][] = [
      ["empty.txt", "", "there must be text"],
      ["cut.jsonl", '{"text":"some text"}\n{"text":"so', "must"],
      ["random.parquet", crypto.getRandomValues(new Uint8Array(2000)), "must"],
      ["binary.txt", Uint8Array.from([255, 254, 0, 128, 129]), "must"],
      ["cut.json.gz", Uint8Array.from([31, 139, 8, 0, 1]), "must"],
    ];
    for (const [name, content, text] of bad) {
      const path = await lastingFolder() + `/${name}`;
      await Deno.writeFile(
        path,
        typeof content === "string" ? new TextEncoder().encode(content) : content,
      );
      const added = { run: `${folder}/more`, from, noTrain: true, add: [path] };
      const error = await assertRejects(() => derive(added), InputError);
      assertStringIncludes(wordText(error.what), text);
    }
    const inside = { ...change, from, run: `${from}/inside` };
    await assertRejects(() => derive(inside), InputError, "lies in it");
    const nowhere = { ...change, from: `${folder}/none` };
    const error = await assertRejects(() => derive(nowhere), InputError);
    assertStringIncludes(wordText(error.what), "from must be a run: there is no");
    assertEquals(await hashes(folder), before);
  }));
