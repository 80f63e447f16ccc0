import { relative } from "node:path";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { InputError, wordText } from "../../../kernels/errors.ts";
import { compareRuns } from "../../../pipeline/report/mod.ts";
import { readManifest } from "../../../pipeline/graph/mod.ts";
import { documentRows, replaying } from "../../../pipeline/stages/token_rows.ts";
import {
  type DerivedExpert,
  lineageStepText,
  readDerivation,
  readLineageSteps,
} from "../../../pipeline/stages/derivation.ts";
import { derive, type DeriveOptions, planDerive } from "../../../pipeline/run/derive.ts";
import { checkForgotten } from "../../../pipeline/run/certificate.ts";
import { trainExpert, trainExperts } from "../../../pipeline/run/models.ts";
import { partition } from "../../../pipeline/run/partition.ts";
import { makePartition } from "../../../pipeline/run/run.ts";
import { readStatus } from "../../../pipeline/run/status.ts";
import { needColumn, readArrow } from "../../../pipeline/rows/arrow.ts";
import { readIntegers } from "../../../pipeline/rows/column_values.ts";
import { matchesPath } from "../../../pipeline/text/glob.ts";
import { verifyRun } from "../../../pipeline/run/verify.ts";
import { saveModelFolder } from "../../../pipeline/model/checkpoints/checkpoint.ts";
import { loadCheckpointConfig } from "../../../pipeline/model/checkpoints/hugging_face_config.ts";
import { initialWeights } from "../../../pipeline/model/parameters.ts";
import { adoptedExperts } from "../../../pipeline/training/adoption.ts";
import type { Configuration } from "../../../pipeline/settings/configuration.ts";
import { uniform } from "../../../pipeline/random.ts";
import {
  copyFolder,
  hashes,
  inFolder,
  lastingFolder,
  ok,
  smallCorpus,
  task,
} from "../../tasks/support.ts";
import { SMALL_SETTINGS, TOPICS } from "./support.ts";

const SETTINGS: Partial<Configuration> = {
  ...SMALL_SETTINGS,
  experts: 3,
  chunk: 303,
  blockBytes: 4_000,
  roundSequences: 48,
  rounds: 4,
  expertHidden: 8,
  expertLayers: 1,
  expertHeads: 2,
  expertBatch: 4,
  expertSteps: 6,
  expertWarmup: 2,
};

/** Writes a file of documents of a topic. */
async function writeTopic(path: string, topic: number, documents: number): Promise<void> {
  const word = (document: number, i: number) =>
    TOPICS[topic][Math.floor(uniform(3, `${path.split("/").at(-1)} ${document}`, BigInt(i)) * 8)];
  const lines = Array.from({ length: documents }, (_, document) => {
    const text = Array.from({ length: 90 }, (_, i) => word(document, i)).join(" ");
    return JSON.stringify({ text, source: `topic ${topic}` }) + "\n";
  });
  await Deno.writeTextFile(path, lines.join(""));
}

let made: Promise<string> | undefined;

/** Makes a run of nine files of three topics, whose three experts are trained. */
async function makeRun(): Promise<string> {
  const folder = await lastingFolder();
  for (let i = 0; i < 9; i++) await writeTopic(`${folder}/${i}-of-topic-${i % 3}.jsonl`, i % 3, 8);
  const flags = { ...SETTINGS, input: [`${folder}/*.jsonl`] };
  await partition({ run: `${folder}/a`, sources: { flags } });
  await trainExperts([0, 1, 2], { run: `${folder}/a` });
  return folder;
}

/** Runs a test with that run, which must stay as it is, and in a folder of its own. */
const withRun = (test: (from: string, folder: string) => Promise<void>) =>
  inFolder(async (folder) => {
    const from = `${await (made ??= makeRun())}/a`;
    const before = await hashes(from);
    await test(from, folder);
    assertEquals(await hashes(from), before, "the other run must stay as it is");
  });

const listNodeFiles = async (run: string, node: string) =>
  (await readManifest(`${run}/${node}`))!.files;

const alike = (one: unknown, other: unknown) => JSON.stringify(one) === JSON.stringify(other);
const assertSame = async (run: string, from: string, node: string, was = node) =>
  assertEquals(await listNodeFiles(run, node), await listNodeFiles(from, was), node);

/** Lists the stages of a run that lack something which it needs. */
const listOpen = async (run: string) =>
  (await readStatus(run)).stages.filter(({ state, optional }) =>
    state !== "up to date" && !optional
  )
    .map(({ stage }) => stage);

/**
 * Makes the partition of a derived run once more, by parts in any order: it must have the same
 * bytes.
 */
async function makeByParts(run: string, part: string): Promise<void> {
  await Deno.mkdir(part);
  await Deno.copyFile(`${run}/config.json`, `${part}/config.json`);
  copyFolder(`${run}/derived`, `${part}/derived`);
  for (const index of [2, 1]) await makePartition({ run: part, part: { index, of: 2 } });
  assertEquals((await partition({ run: part })).sha256, (await partition({ run })).sha256);
}

/** Hashes the files of nodes that a change may not touch. */
async function partsOf(run: string): Promise<Record<string, unknown>> {
  const nodes = [0, 1, 2].flatMap((
    expert,
  ) => [`partition/expert-0${expert}`, `experts/expert-0${expert}`]);
  return Object.fromEntries(
    await Promise.all(nodes.map(async (node) => [node, await listNodeFiles(run, node)])),
  );
}

Deno.test("derive() forgets documents: experts without one keep their bytes, the others are those of the rest alone", () =>
  withRun(async (from, folder) => {
    const run = `${folder}/b`;
    const change = { from, forget: { paths: ["0-of-*"] } };
    const plan = await planDerive({ run, ...change });
    assertEquals(plan.forgotten.documents, 8);
    assert(plan.descends.some((what) => what.includes("routers")));
    const { experts, forgotten } = await derive({ run, ...change });
    assertEquals(forgotten, plan.forgotten);
    const [before, after] = [await partsOf(from), await partsOf(run)];
    const states = experts.map(({ state }) => state);
    assert(states.includes("kept") && states.includes("from the start"), String(states));
    for (const { expert, state } of experts) {
      for (const node of [`partition/expert-0${expert}`, `experts/expert-0${expert}`]) {
        assertEquals(alike(before[node], after[node]), state === "kept", node);
      }
      assertEquals(plan.experts[expert].state, state);
    }
    for (const node of ["tokenizer", "partitioner"]) await assertSame(run, from, node);
    assertEquals((await verifyRun(run)).problems, []);
    assertEquals((await checkForgotten(run)).problems, []);
    assertEquals(
      await Deno.readTextFile(`${run}/tokenizer.json`),
      await Deno.readTextFile(`${from}/tokenizer.json`),
    );
    assertEquals(await listOpen(run), ["train-dense", "evaluate"]);

    // A part that was copied elsewhere trains to the same bytes.
    const again = states.indexOf("from the start");
    const alone = `${folder}/alone`;
    await Deno.mkdir(`${alone}/partition`, { recursive: true });
    for (const place of ["tokenizer", `partition/expert-0${again}`]) {
      copyFolder(`${run}/${place}`, `${alone}/${place}`);
    }
    await Deno.copyFile(`${run}/config.json`, `${alone}/config.json`);
    await trainExpert(again, { run: alone });
    const weights = async (run: string) =>
      (await listNodeFiles(run, `experts/expert-0${again}`))["model.safetensors"];
    assertEquals(await weights(alone), await weights(run));

    // What was put back is found.
    await Deno.remove(`${run}/experts/expert-0${again}`, { recursive: true });
    copyFolder(`${from}/experts/expert-0${again}`, `${run}/experts/expert-0${again}`);
    assertEquals((await checkForgotten(run)).problems.map(({ file }) => file), [
      ...["forgotten/forget.json", `experts/expert-0${again}/manifest.json`],
    ]);
    const { problems } = await verifyRun(run);
    assert(problems.some(({ file, what }) =>
      file === `experts/expert-0${again}/manifest.json` &&
      wordText(what).includes("it must be trained on the part that is there")
    ));
    copyFolder(`${from}/tokens`, `${run}/overlap`);
    assert(
      (await checkForgotten(run)).problems.some(({ what }) =>
        what.includes("must have no row of document")
      ),
    );
  }));

Deno.test("derive() forgets one after another what it forgets at once, and its parts are made in any order", () =>
  withRun(async (from, folder) => {
    const both = { paths: ["4-of-*", "0-of-*"] };
    await derive({ run: `${folder}/both`, from, forget: both });
    await derive({ run: `${folder}/one`, from, forget: { paths: ["4-of-*"] } });
    await derive({ run: `${folder}/two`, from: `${folder}/one`, forget: { paths: ["0-of-*"] } });
    const steps = await readLineageSteps(`${folder}/two`);
    assertEquals(steps.map(({ from, forgotten }) => [from, forgotten]), [[`${folder}/one`, 8], [
      from,
      8,
    ]]);
    assertStringIncludes(lineageStepText(steps[0]), "8 documents forgotten; expert");
    const { heldOut, runs } = await compareRuns({ runs: [from, `${folder}/two`] });
    assertEquals([heldOut, runs[1].lineage], [null, steps]);
    assertEquals(await partsOf(`${folder}/two`), await partsOf(`${folder}/both`));
    await makeByParts(`${folder}/both`, `${folder}/part`);
    assertEquals(
      (await planDerive({ run: `${folder}/both`, from, forget: both })).forgotten.documents,
      16,
    );
  }));

Deno.test("derive() learns everything again, to the bytes of a run that never read what is forgotten", () =>
  withRun(async (from, folder) => {
    const run = `${folder}/b`;
    const change = { from, forget: { paths: ["0-of-*", "4-of-*"] }, routers: "relearn" as const };
    assertEquals(
      (await planDerive({ run, ...change })).descends.some((what) => what.includes("routers")),
      false,
    );
    await derive({ run, ...change });
    for (const { name } of Deno.readDirSync(`${from}/..`)) {
      if (/^[^04].*jsonl$/.test(name)) {
        await Deno.copyFile(`${from}/../${name}`, `${folder}/${name}`);
      }
    }
    const never = `${folder}/never`;
    const { sha256 } = await partition({
      run: never,
      sources: { flags: { ...SETTINGS, input: [`${folder}/*.jsonl`] } },
    });
    assertEquals((await partition({ run })).sha256, sha256);
    await trainExperts([0, 1, 2], { run: never });
    assertEquals(await partsOf(run), await partsOf(never));
    assertEquals((await checkForgotten(run)).problems, []);
    const whole = "whole files must be forgotten";
    const { document, path } = (await listDocuments(from)).find(({ path }) =>
      !/[04]-of/.test(path)
    )!;
    const forget = { ids: [String(document)] };
    const partly = { from, forget, routers: "relearn" as const };
    await assertRejects(() => derive({ run: `${folder}/c`, ...partly }), InputError, whole);

    // Nor does what was forgotten before come back, with the rest of its file or as added text.
    const before = { run: `${folder}/before`, from, forget, noTrain: true };
    await derive(before);
    const later = { run: `${folder}/c`, ...change, from: before.run };
    await assertRejects(() => derive(later), InputError, whole);
    const again = { run: `${folder}/c`, from: before.run, add: [path] };
    await assertRejects(() => derive(again), InputError, "what is forgotten must stay away");
  }));

/** Lists the training documents of a run. */
async function listDocuments(run: string) {
  const batches = await Array.fromAsync(readArrow(`${run}/partition/documents.arrow`));
  const rows = batches.flatMap((batch) =>
    documentRows(batch, ["document", "path", "side", "expert"])
  );
  return rows.filter(({ side }) => side === "train");
}

Deno.test("derive() keeps experts on the way over several runs, also adopted ones, and one in the place of the other", () =>
  withRun(async (from, folder) => {
    await writeTopic(`${folder}/new.jsonl`, 1, 30);
    const path = (name: string) => `${folder}/${name}`;
    await derive({ run: path("more"), from, add: [path("new.jsonl")] });
    await writeTopic(path("newer.jsonl"), 1, 20);
    const twice = await derive({
      run: path("twice"),
      from: path("more"),
      add: [path("newer.jsonl")],
    });
    const less = await derive({
      run: path("less"),
      from: path("twice"),
      forget: { paths: ["0-of-*"] },
    });
    await derive({
      run: path("other"),
      from: path("less"),
      replace: [{ expert: 1, from: `${from}/experts/expert-02` }],
    });
    const last = await derive({
      run: path("last"),
      from: path("other"),
      forget: { paths: ["3-of-*"] },
    });
    const { descends } = JSON.parse(await Deno.readTextFile(path("other/forgotten/forget.json")));
    assert(descends.includes(`${from}/experts/expert-02, which takes the place of expert 1`));
    assert(last.descends.some((what) => what.includes("was adopted from")), String(last.descends));
    const order = ["more", "twice", "less", "other", "last"];
    let kept = 0;
    for (const [i, { experts }] of [[1, twice], [2, less], [4, last]] as const) {
      const [before, after] = [await partsOf(path(order[i - 1])), await partsOf(path(order[i]))];
      for (const { expert, state } of experts) {
        const node = `experts/expert-0${expert}`;
        const isSame = alike(before[node], after[node]);
        assertEquals(isSame, state === "kept", `${order[i]} ${node}`);
      }
      kept += experts.filter(({ state }) => state === "kept").length;
    }
    assert(kept > 0, "none was kept");
    const [then, now] = await Promise.all(
      ["more", "less"].map((name) => readDerivation(path(name))),
    );
    const passesOf = (of: typeof now) => of!.experts.map(({ trained }) => trained!.passes);
    assertEquals(passesOf(now), passesOf(then));
    assertEquals((await checkForgotten(path("last"))).problems, []);
    await Deno.remove(`${path("last")}/forgotten`, { recursive: true });
    assertStringIncludes(
      wordText((await checkForgotten(path("last"))).problems[0].what),
      "the certificate must be there",
    );
    for (const flags of [{ prefix: 8 }, { experts: 8 }]) {
      const changed = { run: path("last"), force: true, sources: { flags } };
      await assertRejects(() => partition(changed), InputError, "it derives from another run");
    }
    // A run takes the place of the one that it derives from.
    await Deno.remove(path("more"), { recursive: true });
    await Deno.rename(path("twice"), path("more"));
    assertEquals((await readLineageSteps(path("more"))).length, 1);
  }));

Deno.test("derive() keeps an expert that the other run adopted, when it is called again as well", () =>
  withRun(async (from, folder) => {
    const change = { run: `${folder}/b`, forget: { paths: ["0-of-*"] } };
    const other = `${folder}/other`;
    const { expert } = (await planDerive({ ...change, from })).experts.find(({ state }) =>
      state === "kept"
    )!;
    await derive({
      run: other,
      from,
      replace: [{ expert, from: `${from}/experts/expert-0${expert}` }],
    });
    for (let i = 0; i < 2; i++) {
      const { experts } = await derive({ ...change, from: other });
      assertEquals(experts[expert].state, "kept");
    }
    assertEquals((await adoptedExperts(change.run)).map(({ expert }) => expert), [expert]);
    await assertSame(change.run, other, `experts/expert-0${expert}`);
  }));

Deno.test("derive() leaves an expert without text untrained", () =>
  withRun(async (from, folder) => {
    const { experts } = await derive({
      run: `${folder}/b`,
      from,
      forget: { sources: ["topic 1"] },
      noTrain: true,
    });
    for (const { state, sequences: { now } } of experts) {
      assertEquals(state === "no text left", now === 0);
    }
    assertEquals(experts.filter(({ state }) => state === "no text left").length, 1);
  }));

Deno.test("derive() adds text: old shards stay, loads stay even, and experts go on from their weights", () =>
  withRun(async (from, folder) => {
    await writeTopic(`${folder}/new.jsonl`, 1, 30);
    const run = `${folder}/b`;
    const change = { from, add: [`${folder}/new.jsonl`] };
    const ended = new AbortController();
    const onEvent = ({ type, stage }: { type: string; stage?: string }) => {
      if (type === "stage" && stage === "split") ended.abort(new Error("enough"));
    };
    await assertRejects(
      () => derive({ run, ...change }, { onEvent: onEvent as never, signal: ended.signal }),
      Error,
      "enough",
    );
    const { experts, deviation } = await derive({ run, ...change }); // and goes on
    assert(deviation <= 0.05, String(deviation));
    for (const { expert, state, sequences: { before, now } } of experts) {
      assertEquals(state, now === before ? "kept" : "goes on");
      const node = `partition/expert-0${expert}`;
      const there = await listNodeFiles(run, node);
      for (const [file, { sha256 }] of Object.entries(await listNodeFiles(from, node))) {
        if (!file.startsWith("train-")) continue;
        assertEquals(there[file].sha256, sha256, `${node}/${file}`);
        const [now, then] = [run, from].map((run) => Deno.statSync(`${run}/${node}/${file}`).ino);
        assertEquals(now, then, "it takes no room of its own");
      }
      const own = (await readManifest(`${run}/experts/expert-0${expert}`))!;
      if (state === "goes on") {
        assert(own.inputs[`before/expert-0${expert}`], "it begins with what it was");
      }
    }
    for (const name of await Array.fromAsync(Deno.readDir(`${from}/tokens`))) {
      for (const folder of ["tokens", "scores"]) {
        await assertSame(run, from, `${folder}/${name.name}`);
      }
    }
    assertEquals((await verifyRun(run)).problems, []);
    const twice = `${folder}/twice`; // the same text again has blocks and ids of its own
    // Fresh ones are for pairs.
    await derive({ run: twice, from: run, add: change.add, router: "fresh", noTrain: true });
    const ids: bigint[] = [];
    for await (const batch of readArrow(`${twice}/text/documents.arrow`)) {
      ids.push(...readIntegers(needColumn(batch, "document"), BigUint64Array));
    }
    assertEquals(ids.length, 72 + 60);
    assertEquals(new Set(ids).size, ids.length);
  }));

Deno.test("derive() gives new text to an expert of its own, whose router prompts of that kind follow; all others stay", () =>
  withRun(async (from, folder) => {
    const words = ["zebra", "quagga", "okapi", "gnu", "ibex", "yak"];
    const lines = Array.from({ length: 40 }, (_, document) => {
      const word = (i: number) =>
        words[Math.floor(uniform(4, `${document}`, BigInt(i)) * words.length)];
      return JSON.stringify({
        text: Array.from({ length: 60 }, (_, i) => word(i)).join(" "),
        source: "zoo",
      }) + "\n";
    });
    await Deno.writeTextFile(`${folder}/zoo.jsonl`, lines.join(""));
    const run = `${folder}/b`;
    const { experts } = await derive({ run, from, newExpert: [`${folder}/zoo.jsonl`] });
    assertEquals(experts.map(({ state }) => state), ["kept", "kept", "kept", "new"]);
    for (const { expert } of experts.slice(0, 3)) {
      await assertSame(run, from, `experts/expert-0${expert}`);
      const part = `partition/expert-0${expert}`;
      const now = await listNodeFiles(run, part);
      for (const [file, { sha256 }] of Object.entries(await listNodeFiles(from, part))) {
        if (file.startsWith("train-")) assertEquals(now[file].sha256, sha256);
      }
    }
    const routers = await listNodeFiles(run, "partitioner");
    for (const [file, note] of Object.entries(await listNodeFiles(from, "partitioner"))) {
      if (file.startsWith("router-")) assertEquals(routers[file], note);
    }
    const { experts: parts } = await partition({ run });
    assertEquals(parts[3].sources, { zoo: parts[3].sequences });
    const index = `${run}/partition/documents.arrow`;
    const zoo: string[] = [];
    for await (const batch of readArrow(index)) {
      for (const row of documentRows(batch, ["source", "side", "expert"])) {
        if (row.side === "test") zoo.push(`${row.source === "zoo"} ${row.expert === "3"}`);
      }
    }
    assert(zoo.includes("true true"), "held-out text of the new kind goes to the new expert");
    assert(!zoo.includes("true false") && !zoo.includes("false true"), String(zoo));
    assertEquals((await verifyRun(run)).problems, []);
    const more = await derive({ run: `${folder}/c`, from: run, add: [`${folder}/zoo.jsonl`] }); // and it goes on from there
    assertEquals(more.experts.map(({ state }) => state === "not trained"), [
      false,
      false,
      false,
      false,
    ]);
  }));

/** Reads the ids of the training sequences of a part, in the order of its shards. */
async function listSequences(run: string, expert: number): Promise<bigint[]> {
  const node = `partition/expert-0${expert}`;
  const ids: bigint[] = [];
  const files = Object.keys(await listNodeFiles(run, node)).filter((file) =>
    file.startsWith("train-")
  );
  for (const file of files.sort()) {
    for await (const batch of readArrow(`${run}/${node}/${file}`)) {
      ids.push(...readIntegers(needColumn(batch, "sequence"), BigUint64Array));
    }
  }
  return ids;
}

Deno.test("derive() drops an expert: the others get its text in about equal loads, and go on with it or stay", () =>
  withRun(async (from, folder) => {
    const run = `${folder}/b`;
    const change = { from, dropExpert: 1 };
    const plan = await planDerive({ run, ...change });
    assertEquals(plan.dropped, { expert: 1, sequences: (await listSequences(from, 1)).length });
    assertEquals(plan.experts.map(({ was, state }) => [was, state]), [[0, "goes on"], [
      2,
      "goes on",
    ]]);
    assertEquals(await hashes(folder), {});
    const { experts, deviation, partition: { sha256 } } = await derive({ run, ...change });
    assertEquals(experts.map(({ was, state }) => [was, state]), [[0, "goes on"], [2, "goes on"]]);
    assert(deviation <= 0.05, String(deviation));
    const [routers, then] = [
      await listNodeFiles(run, "partitioner"),
      await listNodeFiles(from, "partitioner"),
    ];
    for (
      const [file, note] of Object.entries(routers).filter(([file]) => file.startsWith("router-"))
    ) {
      const was = file.replace("router-01", "router-02");
      assertEquals(note, then[was]);
      assertEquals(
        Deno.statSync(`${run}/partitioner/${file}`).ino,
        Deno.statSync(`${from}/partitioner/${was}`).ino,
      );
    }
    const gone = new Set(await listSequences(from, 1));
    for (const { expert, was } of experts) {
      const now = await listSequences(run, expert);
      assertEquals(
        now.filter((id) => !gone.has(id)),
        await listSequences(from, was!),
        "its own sequences stay",
      );
      for (const id of now) gone.delete(id);
      const { inputs, settings } = (await readManifest(`${run}/experts/expert-0${expert}`))!;
      assert(inputs[`before/expert-0${expert}`], "it begins with what it was");
      assertEquals(
        (settings.before as { sequences: number }).sequences,
        (await listSequences(from, was!)).length,
      );
    }
    assertEquals(gone.size, 0, "every sequence of the dropped one went to another");
    assertEquals((await verifyRun(run)).problems, []);
    const [step] = await readLineageSteps(run);
    assertEquals(lineageStepText(step), "expert 1 dropped; all experts trained further");
    const last = await derive({ run: `${folder}/last`, from: run, dropExpert: 0 });
    assertEquals(last.experts.map(({ was, state }) => [was, state]), [[1, "goes on"]]);
    const alone = { run: `${folder}/none`, from: `${folder}/last`, dropExpert: 0 };
    await assertRejects(() => derive(alone), InputError, "an expert must stay");

    // Where they stay, they keep their bytes, and another run may derive from that.
    const still = await derive({ run: `${folder}/still`, ...change, noTrain: true });
    assertEquals(still.experts.map(({ was, state }) => [was, state]), [[0, "kept"], [2, "kept"]]);
    assertEquals(still.partition.sha256, sha256);
    for (const { expert, was } of still.experts) {
      await assertSame(
        `${folder}/still`,
        from,
        `experts/expert-0${expert}`,
        `experts/expert-0${was}`,
      );
    }
    const { stages } = await readStatus(`${folder}/still`);
    assertEquals(
      stages.filter(({ stage }) => stage.startsWith("train-expert")).map(({ state }) => state),
      ["up to date", "up to date"],
    );
    const forgetting = {
      run: `${folder}/less`,
      from: `${folder}/still`,
      forget: { paths: ["0-of-*"] },
    };
    const less = await derive(forgetting);
    assert(less.experts.some(({ state }) => state === "from the start"));
  }));

Deno.test("derive() splits an expert: two new routers divide its text, and the others keep their bytes", () =>
  withRun(async (from, folder) => {
    const run = `${folder}/b`;
    const change = { from, splitExpert: 1 };
    const states: [number | null, string][] = [[0, "kept"], [1, "split"], [2, "kept"], [
      1,
      "split",
    ]];
    const pickStates = (all: readonly DerivedExpert[]) =>
      all.map(({ was, state }): [number | null, string] => [was, state]);
    assertEquals(pickStates((await planDerive({ run, ...change })).experts), states);
    const { experts } = await derive({ run, ...change });
    assertEquals(pickStates(experts), states);
    const [routers, then] = [
      await listNodeFiles(run, "partitioner"),
      await listNodeFiles(from, "partitioner"),
    ];
    for (const expert of [0, 2]) {
      await assertSame(run, from, `experts/expert-0${expert}`);
      const [now, before] = [await listSequences(run, expert), await listSequences(from, expert)];
      assertEquals(now, before);
      const file = `router-0${expert}/model.safetensors`;
      assertEquals(routers[file], then[file]);
    }
    const halves = [await listSequences(run, 1), await listSequences(run, 3)];
    assertEquals(halves.flat().sort(), (await listSequences(from, 1)).sort());
    assert(Math.abs(halves[0].length - halves[1].length) <= 1, "they are equal");
    const hashesOf = ["router-01", "router-03"].map((name) =>
      routers[`${name}/model.safetensors`].sha256
    );
    assertEquals(new Set([...hashesOf, then["router-01/model.safetensors"].sha256]).size, 3);
    for (const expert of [1, 3]) {
      const own = (await readManifest(`${run}/experts/expert-0${expert}`))!;
      assert(
        own.inputs[`before/expert-0${expert}`],
        "it begins with the weights of the one that was split",
      );
      assertEquals(
        (await listNodeFiles(run, `before/expert-0${expert}`))["model.safetensors"],
        (await listNodeFiles(from, "experts/expert-01"))["model.safetensors"],
      );
    }
    assertEquals((await verifyRun(run)).problems, []);
    assertEquals(await listOpen(run), ["train-dense", "evaluate"]);
    assertEquals(
      lineageStepText((await readLineageSteps(run))[0]),
      "experts 0, 2 kept; experts 1, 3 split off",
    );

    // Prompts go to the halves, and others read the run.
    for (const [name, ...args] of [["evaluate"], ["report"], ["generate", "--prompt", "river"]]) {
      await ok(task(name, ["--run", run, ...args]));
    }
    const { segments } = JSON.parse(await Deno.readTextFile(`${run}/evaluation.json`));
    assertEquals(segments.length, 4);
    assertStringIncludes(await Deno.readTextFile(`${run}/report.html`), "experts 1, 3 split off");
    assertEquals((await compareRuns({ runs: [from, run] })).runs[1].lineage[0].experts.length, 4);

    // Its parts are made in any order, and it is changed further.
    await makeByParts(run, `${folder}/part`);
    const { experts: joined } = await derive({ run: `${folder}/c`, from: run, dropExpert: 3 });
    assertEquals(joined.map(({ was }) => was), [0, 1, 2]);

    // The half that does not have a document comes from weights that have seen it.
    const { document } = (await listDocuments(run)).find(({ expert }) => expert === "1")!;
    const forgetting = { run: `${folder}/d`, from: run, forget: { ids: [String(document)] } };
    const planned = (await planDerive(forgetting)).experts.map(({ state }) => state);
    assertEquals(planned, ["kept", "from the start", "kept", "from the start"]);
    assertEquals((await derive(forgetting)).experts.map(({ state }) => state), planned);
    const { experts: certified } = JSON.parse(
      await Deno.readTextFile(`${folder}/d/forgotten/forget.json`),
    );
    assertEquals(
      certified.map(({ trainedAgain }: { trainedAgain: boolean }) => trainedAgain),
      planned.map((state) => state !== "kept"),
    );
  }));

Deno.test("derive() puts a checkpoint in the place of an expert, and the others keep their bytes", () =>
  withRun(async (from, folder) => {
    const run = `${folder}/b`;
    const place = `${from}/experts/expert-02`;
    const { experts } = await derive({
      run,
      from,
      replace: [{ expert: 1, from: relative(".", place) }],
    });
    assertEquals(experts.map(({ state }) => state), ["kept", "replaced", "kept"]);
    assertEquals((await readDerivation(run))!.change.replaced, [{ expert: 1, from: place }]);
    assertEquals((await adoptedExperts(run)).map(({ from }) => from), [place]);
    const [before, after] = [await partsOf(from), await partsOf(run)];
    const { "experts/expert-01": _, ...others } = before;
    for (const [node, files] of Object.entries(others)) assertEquals(after[node], files);
  }));

Deno.test("derive() lets an adopted expert of another size go on in its own", () =>
  withRun(async (from, folder) => {
    const larger = `${folder}/larger`;
    const dropped = `${folder}/dropped`;
    const replace = [{ expert: 1, from: larger }];
    const { config, notes } = await loadCheckpointConfig(`${from}/experts/expert-01`);
    const shape = { ...config, hidden: 16, context: 64 };
    const tokenizer = `${from}/tokenizer/tokenizer.json`;
    const written = { notes: { tokenizer: notes.tokenizer, eos: notes.eos! }, tokenizer };
    const save = (of: typeof shape) => saveModelFolder(larger, of, initialWeights(of, 1), written);
    await save({ ...shape, context: 8 });
    await assertRejects(
      () => derive({ run: `${folder}/b`, from, replace }),
      InputError,
      "its context must be",
    );
    await assertRejects(() => Deno.stat(`${folder}/b`), Deno.errors.NotFound);
    await save(shape);
    await derive({ run: `${folder}/b`, from, replace });
    const { experts } = await derive({ run: dropped, from: `${folder}/b`, dropExpert: 0 });
    assertEquals(experts.map(({ was, state }) => [was, state]), [[1, "goes on"], [2, "goes on"]]);
    const { config: { hidden } } = await loadCheckpointConfig(`${dropped}/experts/expert-00`);
    assertEquals(hidden, 16);
  }));

Deno.test("derive() refuses what cannot be, and writes nothing", () =>
  withRun(async (from, folder) => {
    const run = `${folder}/b`;
    const forget = { paths: ["0-of-*"] };
    const cases: [Partial<DeriveOptions>, string][] = [
      [{}, "one change must be named"],
      [{ forget, add: [folder] }, "there are 2"],
      [{ forget: { paths: ["none*"] } }, 'no document has the path "none*"'],
      [{ forget: { sources: ["none"] } }, 'no document has the source "none"'],
      [{ forget: { ids: ["7"] } }, "no document has the id 7"],
      [{ forget: { paths: ["**"] } }, "all would be forgotten"],
      [{ add: [`${folder}/none`] }, "it must exist"],
      [{ replace: [{ expert: 3, from }] }, "it must be one of 0 to 2"],
      [{ replace: [{ expert: 1, from }, { expert: 1, from }] }, "an expert must be replaced once"],
      [{ add: [`${from}/../0-of-topic-0.jsonl`], replay: 1 }, "change.replay"],
      [{ dropExpert: 3 }, "Cannot drop expert 3 as it must be one of 0 to 2"],
      [{ splitExpert: 3 }, "Cannot split expert 3 as it must be one of 0 to 2"],
      [{ dropExpert: 1, splitExpert: 1 }, "there are 2"],
      [{ forget, run: from }, "must be another folder"],
      [{ forget, from: folder }, "it must be a run folder"],
    ];
    for (const [options, text] of cases) {
      const error = await assertRejects(() => derive({ run, from, ...options }), InputError);
      assertStringIncludes(wordText(error.what), text);
      assertEquals(await hashes(folder), {});
    }
    await Deno.writeTextFile(`${folder}/pairs.jsonl`, '{"prompt":"a ","response":"b"}\n');
    const input = [`${folder}/docs.jsonl`];
    const pairs = [`${folder}/pairs.jsonl`];
    await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus());
    await partition({
      run: `${folder}/random`,
      sources: { flags: { ...SETTINGS, input, partitioner: "random" } },
    });
    await partition({
      run: `${folder}/tree`,
      sources: { flags: { ...SETTINGS, input, experts: 4, levels: [2, 2], chunk: 0 } },
    });
    for (
      const change of [{ dropExpert: 1 }, { splitExpert: 1 }, {
        tune: pairs,
        router: "fresh" as const,
      }]
    ) {
      for (
        const [name, text] of [["random", 'it is split by "random"'], [
          "tree",
          "must not be a tree",
        ]]
      ) {
        const error = await assertRejects(
          () => derive({ run, from: `${folder}/${name}`, ...change }),
          InputError,
        );
        assertStringIncludes(wordText(error.what), text);
      }
    }
    await assertRejects(() => checkForgotten(from), InputError, "it must derive with");
    await derive({ run, from, forget, noTrain: true });
    const other = { run, from, forget: { paths: ["1-of-*"] } };
    await assertRejects(() => derive(other), InputError, "it derives otherwise");
  }));

Deno.test("the task derive plans, forgets and verifies with the permissions that it has", () =>
  withRun(async (from, folder) => {
    const run = `${folder}/b`;
    const args = ["--from", from, "--run", run, "--forget", "0-of-*"];
    const plan = await ok(task("derive", [...args, "--dry-run"]));
    assertStringIncludes(plan.out, "8 documents");
    assertEquals(await hashes(folder), {});
    const { out } = await ok(task("derive", args));
    assertStringIncludes(out, "is trained again on what is left");
    await ok(task("verify", [run, "--forgotten"]));
    assertEquals((await task("derive", ["--from", from, "--replace-expert", "x"])).code, 2);
  }));

Deno.test("replaying() gives new rows and old ones by their shares, each as often as the others", () => {
  const draw = replaying(30, 1, { sequences: 20, replay: 0.75 });
  const all = [...draw(0, 13), ...draw(13, 27)];
  const counts = new Map<number, number>();
  for (const row of all) counts.set(row, (counts.get(row) ?? 0) + 1);
  assertEquals(all.filter((row) => row >= 20).length, 10);
  for (let row = 0; row < 30; row++) {
    assertEquals(counts.get(row), row < 20 ? (counts.get(row)! > 1 ? 2 : 1) : 1);
  }
  assertEquals([...replaying(30, 1, { sequences: 20, replay: 0.75 })(5, 20)], all.slice(5, 25));
});

Deno.test("matchesPath() matches a path, or its end, as glob() finds files", () => {
  const fits = ["a/b/c.txt c.txt", "a/b/c.txt b/*.txt", "a/b/c.txt a/**/c.txt", "a/b/c.txt **"];
  fits.push("/a/b/c.txt /a/*/c.txt", "a/b/c.txt {x,c}.txt");
  for (const both of [...fits, "a/b/c.txt *.md", "/a/b/c.txt /b/*.txt", "a/bc.txt c.txt"]) {
    const [path, pattern] = both.split(" ");
    assertEquals(matchesPath(path, pattern), fits.includes(both), both);
  }
});
