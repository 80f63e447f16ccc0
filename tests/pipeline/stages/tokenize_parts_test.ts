import { assert, assertEquals, assertFalse, assertRejects, assertStringIncludes } from "@std/assert";
import { InputError, wordText } from "../../../kernels/errors.ts";
import { filesUnder, writeAtomic } from "../../../pipeline/run/files.ts";
import { cleanRun } from "../../../pipeline/stages/clean.ts";
import { STAGES } from "../../../pipeline/stages/graph.ts";
import { inRun } from "../../../pipeline/stages/session.ts";
import type { Stage } from "../../../pipeline/stages/stage.ts";
import { MADE_PARTS } from "../../../pipeline/stages/tokenize_parts.ts";
import { defaultConfiguration } from "../../../pipeline/settings/configuration.ts";
import { runOneStage } from "../../../pipeline/stages/partition.ts";
import { statusOf } from "../../../pipeline/stages/status.ts";
import { verifyRun } from "../../../pipeline/stages/verify.ts";
import type { Configuration } from "../../../pipeline/settings/configuration.ts";
import { partText } from "../../../tasks/stage.ts";
import { words } from "../../../tasks/wording.ts";
import { hashes, inFolder, sendSignal, smallCorpus, taskCommand } from "../../tasks/support.ts";
import { SMALL_SETTINGS } from "./support.ts";

/** Runs a test with five files of text, one of them empty, and what makes a run as far as its tokenizer. */
async function inFiles(
  test: (begun: (name: string, more?: Partial<Configuration>) => Promise<string>) => Promise<void>,
): Promise<void> {
  await inFolder(async (folder) => {
    const input = ["a", "b", "c", "d", "e"].map((name) => `${folder}/${name}.jsonl`);
    const sizes = [9, 1, 0, 14, 6];
    const lines = smallCorpus(30).trimEnd().split("\n");
    for (const [i, path] of input.entries()) {
      await Deno.writeTextFile(path, lines.splice(0, sizes[i]).map((line) => `${line}\n`).join(""));
    }
    await test(async (name, more = {}) => {
      const run = `${folder}/${name}`;
      const flags = { ...SMALL_SETTINGS, shardSequences: 90, holdout: 0.3, input, ...more };
      await runOneStage({ run, stage: "corpus", sources: { flags } });
      await runOneStage({ run, stage: "tokenizer" });
      return run;
    });
  });
}

/** Makes one part of a run's tokens. */
const partOf = (run: string, index: number, of: number) =>
  runOneStage({ run, stage: "tokenize", part: { index, of } });

Deno.test("tokenize in any number of parts, in any order, some twice and two at once, gives the bytes of one process", () =>
  inFiles(async (begun) => {
    const cases: [of: number, order: number[], rounds: number, holdout: number][] = [
      [1, [1], 1, 0.3],
      [2, [2, 1], 3, 0.3],
      [3, [1, 2, 3], 2, 0.3],
      [3, [3, 1, 1, 2], 3, 0],
      [7, [1, 2, 3, 4, 5, 6, 7], 3, 0.3],
      [7, [5, 2, 7, 1, 3, 3, 6, 4], 3, 0.3],
      [7, [5, 1, 7], 1, 0],
    ];
    const expected = new Map<number, Record<string, string>>();
    for (const holdout of [0.3, 0]) {
      const whole = await begun(`whole-${holdout}`, { holdout });
      await runOneStage({ run: whole, stage: "tokenize" });
      expected.set(holdout, await hashes(whole));
    }
    for (const [i, [of, order, rounds, holdout]] of cases.entries()) {
      const run = await begun(`run-${i}`, { holdout });
      const part = (index: number) => partOf(run, index, of);
      for (let round = 0; round < rounds; round++) {
        await Promise.all(order.slice(0, 2).map(part));
        for (const index of order.slice(2)) await part(index);
      }
      const last = await part(order[0]);
      if (rounds === 3) assertEquals([last.written, last.exchanged], [last.shards, last.groups]);
      await runOneStage({ run, stage: "tokenize" }); // which makes what no part has made
      assertEquals(await hashes(run), expected.get(holdout), `${of} parts in the order ${order}`);
      assertEquals((await part(1)).closed, true);
    }
  }));

Deno.test("parts of tokenize count one pass after another, and say what is left", () =>
  inFiles(async (begun) => {
    const run = await begun("run");
    assertEquals(await partOf(run, 1, 2), { own: 2, tokenized: 2, files: 5, closed: false });
    const far = { tokenized: 5, files: 5, groups: 5 };
    assertEquals(await partOf(run, 2, 2), { own: 3, ...far, exchanged: 3, closed: false });
    const { shards, ...first } = await partOf(run, 1, 2);
    const written = Number(first.written);
    assertEquals(first, { own: 2, ...far, exchanged: 5, written, closed: false });
    assert(written > 1 && written < Number(shards), `${written} of ${shards}`);
    const last = await partOf(run, 2, 2);
    assertEquals(last, { own: 3, ...far, exchanged: 5, written: shards, shards, closed: false });
    const lines = [first, { ...first, shards }, last].map((result) =>
      partText("runs/a", "tokenize", { index: 1, of: 2 }, { shards, ...result })
    );
    assertStringIncludes(
      lines[0],
      `with ${written} of ${shards} shards written: tokenize the other parts, and`,
    );
    assertStringIncludes(lines[2], `and all ${shards} shards are written: close the stage with`);
    // What the passes before left is gone, but for the held-out sequences.
    const left = Array.from(Deno.readDirSync(`${run}/tokens/files`), ({ name }) => name.slice(6)).sort();
    assertEquals(left, Array(5).fill("test.arrow"));
    const status = (await statusOf(run)).stages.find(({ stage }) => stage === "tokenize")!;
    assertEquals([status.state, status.because], ["missing", `${shards} shards are written by parts so far`]);
    assertEquals((await verifyRun(run)).problems.filter(({ file }) => file.startsWith("tokens/")), []);
    await runOneStage({ run, stage: "tokenize" });
    assertEquals([...Deno.readDirSync(`${run}/tokens`)].length, shards);
  }));

Deno.test("parts of other divisions, two of each at once, are put together", () =>
  inFiles(async (begun) => {
    const [whole, run] = [await begun("whole"), await begun("run")];
    await runOneStage({ run: whole, stage: "tokenize" });
    for (let round = 0; round < 3; round++) {
      await Promise.all([partOf(run, 1, 2), partOf(run, 2, 3), partOf(run, 1, 2), partOf(run, 5, 5)]);
    }
    await Promise.all([partOf(run, 1, 1), partOf(run, 2, 2)]);
    await runOneStage({ run, stage: "tokenize" });
    assertEquals(await hashes(run), await hashes(whole));
  }));

Deno.test("a part's damaged files are made again, in every pass, and a run with parts of a text verifies", () =>
  inFiles(async (begun) => {
    const whole = await begun("whole");
    await runOneStage({ run: whole, stage: "tokenize" });
    const expected = await hashes(whole);
    const run = await begun("run");
    assertEquals(await partOf(run, 1, 2), { own: 2, tokenized: 2, files: 5, closed: false });
    const { problems } = await verifyRun(run);
    assertEquals(problems.filter(({ file }) => file.startsWith("tokens/")), []);
    await Deno.truncate(`${run}/tokens/files/00000-train.arrow`, 99);
    await Deno.remove(`${run}/manifests/tokenize/00001-test.arrow.json`);
    assertEquals((await partOf(run, 2, 2)).tokenized, 3);
    await runOneStage({ run, stage: "tokenize" });
    assertEquals(await hashes(run), expected);

    /** Runs the parts so often, damages files of the run, runs them again and closes the stage. */
    const damaged = async (name: string, rounds: number, damage: (run: string) => Promise<void>) => {
      const run = await begun(name);
      const parts = async () => {
        for (const index of [1, 2]) await partOf(run, index, 2);
      };
      for (let round = 0; round < rounds; round++) await parts();
      await damage(run);
      for (let round = 0; round < 3; round++) await parts();
      await runOneStage({ run, stage: "tokenize" });
      assertEquals(await hashes(run), expected, name);
    };
    const pieces = (run: string) =>
      [...Deno.readDirSync(`${run}/tokens/exchange`)].flatMap(({ name }) =>
        Array.from(
          Deno.readDirSync(`${run}/tokens/exchange/${name}`),
          (piece) => `${run}/tokens/exchange/${name}/${piece.name}`,
        )
      ).sort();
    assert(pieces(await exchanged(begun)).length > 5); // several buckets
    await damaged("a piece is cut short", 1, async (run) => await Deno.truncate(pieces(run)[0], 99));
    await damaged("a shard is cut short", 2, async (run) => {
      await Deno.truncate(`${run}/tokens/train-00001.arrow`, 99);
      await Deno.remove(`${run}/manifests/tokenize/train-00000.arrow.json`);
    });

    // Damage that keeps the size is found by whoever reads the file, which goes: the next call makes it again.
    const quiet = await exchanged(begun);
    const [piece] = pieces(quiet);
    await flip(piece);
    const error = await assertRejects(() => partOf(quiet, 1, 1), InputError, "as it was made");
    assertEquals(error.remedy, "it is removed: run the same again");
    await partOf(quiet, 1, 1);
    await runOneStage({ run: quiet, stage: "tokenize" });
    assertEquals(await hashes(quiet), expected);
  }));

let runs = 0;

/** Makes a run as far as its sequences are exchanged, by the second of two parts before the first. */
async function exchanged(begun: (name: string) => Promise<string>): Promise<string> {
  const run = await begun(`exchanged-${runs++}`);
  for (const index of [2, 1]) await partOf(run, index, 2);
  assertEquals((await partOf(run, 2, 2)).exchanged, 5);
  for await (const { name } of Deno.readDir(`${run}/tokens`)) {
    if (!name.endsWith(".arrow")) continue;
    await Deno.remove(`${run}/tokens/${name}`);
    await Deno.remove(`${run}/manifests/tokenize/${name}.json`);
  }
  return run;
}

/** Changes a byte in the middle of a file. */
async function flip(path: string): Promise<void> {
  const bytes = await Deno.readFile(path);
  bytes[bytes.length >> 1] ^= 1;
  await Deno.writeFile(path, bytes);
}

Deno.test("parts that are killed in any pass are run again, to the bytes of one process, and clean removes what they left", () =>
  inFiles(async (begun) => {
    const whole = await begun("whole");
    await runOneStage({ run: whole, stage: "tokenize" });
    const run = await begun("run");
    /** Kills a part as soon as a name of a file fits, and says whether it was in time. */
    const kill = async (index: number, name: RegExp): Promise<boolean> => {
      const child = taskCommand("tokenize", ["--run", run, "--part", `${index}/2`]).spawn();
      let ended = false;
      const end = child.output().finally(() => ended = true);
      const found = async () => {
        for await (const path of filesUnder(run, "")) if (name.test(path)) return true;
        return false;
      };
      while (!ended && !await found()) await new Promise((resolve) => setTimeout(resolve, 1));
      if (!ended) sendSignal(child, "SIGKILL");
      return (await end).signal === "SIGKILL";
    };
    const killed = [];
    killed.push(await kill(1, /^tokens\/files\/.*partial$/));
    await partOf(run, 1, 2);
    await partOf(run, 2, 2);
    killed.push(await kill(1, /^tokens\/exchange\/.*\/0000[01].*partial$/));
    await partOf(run, 1, 2);
    killed.push(await kill(2, /^tokens\/(train|test)-.*partial$/));
    assert(killed.some((inTime) => inTime));
    await cleanRun({ run });
    for await (const path of filesUnder(run, "")) assertFalse(path.endsWith(".partial"), path);
    await partOf(run, 2, 2);
    await runOneStage({ run, stage: "tokenize" });
    assertEquals(await hashes(run), await hashes(whole));
  }));

Deno.test("tokenize and split that fail as they close keep what parts made, and clean removes what a kill after that leaves", () =>
  inFiles(async (begun) => {
    const run = await begun("run");
    await partOf(run, 1, 1);
    const made = async () =>
      (await Array.fromAsync(filesUnder(run, ""))).filter((path) => MADE_PARTS.test(path));
    const parts = await made();
    assert(parts.some((path) => path.startsWith("tokens/exchange/")));
    const manifest = `${run}/manifests/tokenize.json`;
    const closed = inRun({ run }, {}, { task: "tokenize" }, async (session) => {
      const stage = session.states.graph.get("tokenize")!;
      const prepare: Stage["prepare"] = async (...given) => {
        const make = await stage.prepare(...given);
        return async () => {
          const made = await make();
          await Deno.mkdir(manifest); // so that no manifest can be written
          return made;
        };
      };
      await session.run({ ...stage, prepare });
    });
    await assertRejects(() => closed);
    assertEquals(await made(), parts);
    await Deno.remove(manifest);
    const copies = await Promise.all(
      parts.map(async (path) => [path, await Deno.readFile(`${run}/${path}`)] as const),
    );
    await runOneStage({ run, stage: "tokenize" });
    const expected = await hashes(run);
    for (const [path, bytes] of copies) await writeAtomic(`${run}/${path}`, bytes);
    const problems = (await verifyRun(run)).problems.filter(({ file }) => parts.includes(file));
    assertEquals(problems.map(({ remedy }) => wordText(remedy, words)), [`run deno task clean --run ${run}`]);
    assertEquals((await cleanRun({ run })).unfinished.files, parts.length);
    assertEquals(await hashes(run), expected);
    const [split] = STAGES.get("split")!.of(defaultConfiguration());
    assert(split.ofParts!.test("manifests/split/expert-00/train-00000.arrow.json"));
  }));

Deno.test("tokenize refuses parts of a text that is limited or packed across files", () =>
  inFiles(async (begun) => {
    const cases: [Partial<Configuration>, string][] = [
      [{ maxTokens: 500 }, "maxTokens must be 0"],
      [{ maxDocuments: 5 }, "maxDocuments must be 0"],
      [{ packing: "concat" }, "packing must be document"],
    ];
    for (const [i, [more, text]] of cases.entries()) {
      const run = await begun(`run-${i}`, more);
      const part = { index: 1, of: 2 };
      await assertRejects(() => runOneStage({ run, stage: "tokenize", part }), InputError, text);
    }
  }));
