import { assert, assertEquals, assertGreater, assertMatch, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { writeDocumentScores } from "../../../pipeline/evaluation/tables.ts";
import type { Evaluation } from "../../../pipeline/evaluation/evaluation.ts";
import type { RunEvent } from "../../../pipeline/graph/events.ts";
import { uniform } from "../../../pipeline/random.ts";
import { needColumn, readArrow } from "../../../pipeline/rows/arrow.ts";
import { readIntegers, readStrings } from "../../../pipeline/rows/column_values.ts";
import type { Configuration } from "../../../pipeline/settings/configuration.ts";
import {
  findOverlap,
  overlapLine,
  overlapTables,
  readLeaks,
} from "../../../pipeline/run/overlap.ts";
import { writeManifest } from "../../../pipeline/graph/node.ts";
import { Walk } from "../../../pipeline/graph/walk.ts";
import { readRunConfiguration } from "../../../pipeline/graph/configuration.ts";
import { partition, summarizeRun } from "../../../pipeline/run/partition.ts";
import { partitionGraph } from "../../../pipeline/run/plan.ts";
import { evaluateClean } from "../../../pipeline/run/evaluate_run.ts";
import { readStatus } from "../../../pipeline/run/status.ts";
import { hashes, inFolder } from "../../tasks/support.ts";
import { allPairs, listRuns } from "../text/brute_force.ts";
import { SMALL_SETTINGS } from "./support.ts";

/** Words of a text, drawn from 900. */
const words = (seed: number, count: number) =>
  Array.from({ length: count }, (_, i) => `w${Math.floor(900 * uniform(seed, "words", i))}`);

/**
 * 120 documents; of every fifth there is a copy, one with a changed word, or one that begins with
 * half of it.
 */
const TEXTS = Array.from({ length: 120 }, (_, i) => {
  const [own, copied] = [words(i, 150), words(Math.max(0, i - 3), 150)];
  if (i % 5 !== 4) return own.join(" ");
  if (i % 3 === 0) return copied.join(" ");
  return (i % 3 === 1 ? [...copied.slice(0, 149), "other"] : [...copied.slice(0, 60), ...own]).join(
    "\t",
  );
});

const toLines = (documents: readonly unknown[]) =>
  documents.map((document) => JSON.stringify(document) + "\n").join("");

async function writeTexts(folder: string): Promise<string> {
  await Deno.mkdir(`${folder}/texts`, { recursive: true });
  for (let file = 0; file < 4; file++) {
    const own = TEXTS.slice(30 * file, 30 * (file + 1)).map((text, i) => ({
      text,
      source: `kind ${i % 2}`,
    }));
    await Deno.writeTextFile(`${folder}/texts/${file}.jsonl`, toLines(own));
  }
  return `${folder}/texts/*.jsonl`;
}

/** Hears the warnings of a run. */
const hearing = (warnings: string[] = []) => ({
  warnings,
  onEvent: (event: RunEvent) =>
    void (event.type === "warning" && warnings.push(String(event.message))),
});

const split = (run: string, input: string, more: Partial<Configuration> = {}) => {
  const flags = {
    ...SMALL_SETTINGS,
    holdout: 0.3,
    partitioner: "random",
    input: [input],
    blockBytes: 9000,
    ...more,
  };
  return partition({ run, sources: { flags } });
};

/** Reads the columns of a table of texts or numbers, row by row. */
async function readTable(
  path: string,
  names: readonly string[],
): Promise<Record<string, string>[]> {
  const rows: Record<string, string>[] = [];
  for await (const batch of readArrow(path)) {
    const columns = names.map((name) => {
      const column = needColumn(batch, name);
      return /place|document/i.test(name)
        ? Array.from(
          readIntegers(column, name.endsWith("document") ? BigUint64Array : Uint32Array),
          String,
        )
        : readStrings(column);
    });
    for (let i = 0; i < batch.numRows; i++) {
      rows.push(Object.fromEntries(names.map((name, k) => [name, columns[k][i]])));
    }
  }
  return rows;
}

/** Gives the number of a document's text by its path and line. */
const numberAt = (path: string, place: string) =>
  30 * Number(/(\d)\.jsonl$/.exec(path)![1]) + Number(place) - 1;

/** Gives the sides of all texts in a run: undefined of those that are not there. */
async function sidesIn(run: string): Promise<string[]> {
  const sides: string[] = [];
  for (
    const { path, place, side } of await readTable(`${run}/text/documents.arrow`, [
      "path",
      "place",
      "side",
    ])
  ) {
    sides[numberAt(path, place)] = side;
  }
  return sides;
}

const PAIRS = [...allPairs(TEXTS)].filter(([, index]) => index >= 0.8).map(([pair]) => pair);

Deno.test("overlap finds what a brute force finds, to the same bytes from any blocks and parts, and changes nothing of the run", () =>
  inFolder(async (folder) => {
    const run = `${folder}/run`;
    const input = await writeTexts(folder);
    await split(run, input);
    const before = await summarizeRun(run);
    const found = await findOverlap({ run });
    assertEquals(await summarizeRun(run), before);

    const columns = ["kind", "path", "place", "side", "other_path", "other_place", "other_side"];
    const rows = await readTable(`${run}/overlap.arrow`, columns);
    const pairs = rows.filter(({ kind }) => kind !== "passage").map((row) =>
      [numberAt(row.path, row.place), numberAt(row.other_path, row.other_place)].sort((a, b) =>
        a - b
      ).join(
        " ",
      )
    );
    const sides = await sidesIn(run);
    const trained = PAIRS.filter((pair) =>
      pair.split(" ").some((i) => sides[Number(i)] === "train")
    );
    assertEquals(pairs.sort(), trained.sort());
    assertGreater(trained.length, 12);
    assert(rows.every(({ side }) => side === "train"));
    const held = TEXTS.flatMap((_, i) => sides[i] === "test" ? [i] : []);
    const known = new Set(
      TEXTS.flatMap((text, i) => sides[i] === "train" ? listRuns(text, 13) : []),
    );
    const runs = held.map((i) => listRuns(TEXTS[i], 13));
    const shared = runs.map((own) => own.filter((run) => known.has(run)).length);
    const twin = (i: number) =>
      PAIRS.some((pair) => {
        const both = pair.split(" ").map(Number);
        return both.includes(i) && both.some((other) => sides[other] === "train");
      });
    assertEquals(found.all.documents, 120 - held.length);
    assertEquals(found.all.heldOut, held.length);
    assertEquals(found.all.twins, held.filter(twin).length);
    const repeats = new Set(
      [...allPairs(TEXTS)].filter(([, index]) => index >= 0.8).map(([pair]) =>
        pair.split(" ").map(Number)
      ).filter((pair) => pair.every((i) => sides[i] === "test")).map((pair) => Math.max(...pair)),
    );
    assertEquals(found.all.repeats, repeats.size);
    assertGreater(repeats.size, 0);
    assertEquals(found.all.leaking, shared.filter((count) => count > 0).length);
    assertEquals(found.all.shared, shared.reduce((a, b) => a + b));
    assertEquals(found.all.runs, runs.flat().length);
    assertGreater(found.all.leaking, found.all.twins);
    const copies = PAIRS.filter((pair) => {
      const [a, b] = pair.split(" ").map(Number);
      return TEXTS[a] === TEXTS[b] && sides[a] === "train";
    });
    assertEquals(found.all.copies, copies.length);
    assertEquals(
      found.sources["kind 0"].documents + found.sources["kind 1"].documents,
      found.all.documents,
    );
    const leaks = held.filter((i, at) => shared[at] > 0 || twin(i));
    assertEquals((await readLeaks(run)).size, leaks.length);
    const [one, other] = found.examples;
    assertEquals(one.text.slice(0, 60), other.text.slice(0, 60));
    assert(
      !found.examples.some(({ text }) => text.includes("\ufffd")),
      "a tab is shown as a space",
    );

    // A mixture that knows leaking documents by heart gains less on the others.
    const ids = (await readTable(`${run}/partition/documents.arrow`, ["document", "side"]))
      .filter(({ side }) => side === "test").map(({ document }) => BigInt(document));
    const unclean = await readLeaks(run);
    const ones = new Uint32Array(ids.length).fill(1);
    const scores = {
      document: BigUint64Array.from(ids),
      source: ids.map(() => ""),
      sequences: ones,
      tokens: ones,
      nll: {
        mixture: Float64Array.from(ids, (id) => unclean.has(id) ? 1 : 2.9),
        dense: new Float64Array(ids.length).fill(3),
      },
    };
    await writeDocumentScores(`${run}/evaluation/result/evaluation.arrow`, scores, {
      prefix: 8,
      experts: 2,
    });
    const evaluation = {
      resamples: 100,
      seed: 1,
      gains: [{ baseline: "dense", percent: 50, low: 40, high: 60 }],
    };
    const { warnings, onEvent } = hearing();
    const clean = await evaluateClean(run, evaluation as unknown as Evaluation, { onEvent });
    assertEquals(clean?.documents, held.length - leaks.length);
    assertMatch(warnings.join(), /^duplicates or leaks change a result: compared with dense/);
    assertEquals(
      (await readStatus(run)).stages.find(({ stage }) => stage === "overlap")?.state,
      "up to date",
    );

    for (const blockBytes of [3000, 1e6]) {
      const other = `${folder}/${blockBytes}`;
      await split(other, input, { blockBytes });
      assertEquals(await findOverlap({ run: other }), found);
    }
    const parts = `${folder}/parts`;
    await split(parts, input);
    await Promise.all(
      [1, 2, 3].map((index) => findOverlap({ run: parts, part: { index, of: 3 }, workers: index })),
    );
    const own = async (run: string) => await hashes(`${run}/overlap`);
    assertEquals(await own(parts), await own(run));
  }));

Deno.test("of equal documents every one but the first makes one pair", () =>
  inFolder(async (folder) => {
    const run = `${folder}/run`;
    const input = `${folder}/texts.jsonl`;
    const texts = TEXTS.slice(0, 4).flatMap((text) => Array.from({ length: 150 }, () => text));
    await Deno.writeTextFile(input, toLines(texts.map((text) => ({ text, source: "" }))));
    await split(run, input, { holdout: 0.3, blockBytes: 50_000 });
    const { all: { documents, copies, near } } = await findOverlap({ run });
    assertGreater(documents, 0);
    assertEquals([copies, near], [documents * 149 / 150, 0]);
    assertEquals((await readTable(`${run}/overlap.arrow`, ["kind"])).length, copies);
  }));

Deno.test("a damaged table is refused with the command that mends it, and --check mends it; text that changed is refused", () =>
  inFolder(async (folder) => {
    const run = `${folder}/run`;
    const input = await writeTexts(folder);
    await split(run, input);
    await assertRejects(
      () => findOverlap({ run: `${folder}/none` }),
      InputError,
      "must be a run folder",
    );
    const against = [`${folder}/none.jsonl`];
    await assertRejects(() => findOverlap({ run, against }), Error, "none.jsonl");
    await assertRejects(
      () => findOverlap({ run, against: ["/dev/null"] }),
      InputError,
      "pipe or a device",
    );
    await Deno.writeTextFile(against[0], '{"text": ""}\n');
    const empty = `${against[0]}" as it must hold text`;
    await assertRejects(() => findOverlap({ run, against }), InputError, empty);
    await findOverlap({ run });
    const made = await hashes(`${run}/overlap`);
    const block = Array.from(Deno.readDirSync(`${run}/overlap/hashes`))[0].name;
    const path = `${run}/overlap/hashes/${block}/bands-train.u32`;
    const bytes = await Deno.readFile(path);
    bytes[bytes.length - 5] ^= 4;
    await Deno.writeFile(path, bytes);
    await Deno.remove(`${run}/overlap/result`, { recursive: true });
    await assertRejects(() => findOverlap({ run }), InputError, "bands-train.u32");
    await findOverlap({ run, check: true });
    assertEquals(await hashes(`${run}/overlap`), made);
    await Deno.writeTextFile(
      `${folder}/texts/1.jsonl`,
      JSON.stringify({ text: "else", source: "" }) + "\n",
    );
    await assertRejects(() => findOverlap({ run }), InputError, "1.jsonl");
  }));

Deno.test("named texts are looked for in training text, by 13 and by 8 words", () =>
  inFolder(async (folder) => {
    const run = `${folder}/run`;
    const input = await writeTexts(folder);
    await split(run, input, { holdout: 0 });
    const some = (at: number, from: number, to: number) => words(at, 150).slice(from, to).join(" ");
    const items = [
      some(0, 10, 40),
      some(1, 10, 20),
      `${some(2, 0, 7)} and not more`,
      some(5, 0, 13).toUpperCase(),
    ];
    await Deno.writeTextFile(`${folder}/items.jsonl`, toLines(items.map((text) => ({ text }))));
    const choices = { label: ["A", "B"], text: [some(7, 20, 33), "no"] };
    const question = JSON.stringify({ id: "1", question: "which one", choices, answerKey: "A" }) +
      "\n";
    await Deno.writeTextFile(`${folder}/arc_easy.jsonl`, question);
    const found = await findOverlap({
      run,
      against: [`${folder}/items.jsonl`, `${folder}/arc_easy.jsonl`],
    });
    const counts = Object.entries(found.against).map((
      [name, { heldOut, leaking, shared, runs }],
    ) => [
      ...[name.slice(folder.length + 1), heldOut, leaking, shared, runs],
    ]);
    assertEquals(counts, [
      ...[["items.jsonl, 8 words", 4, 3, 32, 35], ["items.jsonl, 13 words", 4, 2, 19, 19]],
      ...[["arc_easy.jsonl, 8 words", 1, 1, 6, 13], ["arc_easy.jsonl, 13 words", 1, 1, 1, 8]],
    ]);
    // Without names it takes the questions that the run was asked, and reports those that are gone.
    const asked = {
      name: "zero-shot/arc_easy",
      key: "",
      revision: 2,
      settings: {},
      inputs: {},
      files: {},
    };
    await writeManifest(`${run}/zero-shot/arc_easy`, {
      ...asked,
      result: { file: `${folder}/arc_easy.jsonl` },
    });
    const { against } = await findOverlap({ run });
    assertEquals(Object.keys(against).map((name) => name.slice(folder.length + 1)), [
      ...["arc_easy.jsonl, 8 words", "arc_easy.jsonl, 13 words"],
    ]);
    await Deno.remove(`${folder}/arc_easy.jsonl`);
    const { warnings, onEvent } = hearing();
    assertEquals((await findOverlap({ run }, { onEvent })).against, {});
    assertMatch(warnings.join(), /arc_easy.jsonl.* is gone/);
    const tables = overlapTables(found);
    assertEquals(tables.map(({ title }) => title), [
      "By source",
      "By expert",
      "Named texts",
      "Examples",
    ]);
    assertEquals(tables[0].rows.map(([name]) => name), ["kind 0", "kind 1", "(all)"]);
    assertEquals(tables[2].rows[0].slice(1), [4, 3, "91.4%"]);
    assertMatch(overlapLine(found), /^documents 120, copies \d+, near \d+, apart/);
  }));

Deno.test("dedup keeps the first of every group in a seeded order, and a group stays on one side; others stay as they were", () =>
  inFolder(async (folder) => {
    const input = await writeTexts(folder);
    const groups = PAIRS.map((pair) => pair.split(" ").map(Number));
    const isCopy = ([a, b]: number[]) => TEXTS[a] === TEXTS[b];
    const runs: Record<string, Partial<Configuration>> = {
      off: {},
      exact: { dedup: "exact" },
      near: { dedup: "near" },
      other: { dedup: "near", seed: 5 },
      groups: { splitGroups: true },
    };
    const sides: Record<string, string[]> = {};
    for (const [name, flags] of Object.entries(runs)) {
      const run = `${folder}/${name}`;
      const summary = await split(run, input, flags);
      sides[name] = await sidesIn(run);
      const left = TEXTS.flatMap((_, i) => sides[name][i] === undefined ? [i] : []);
      const dropped = name === "off" ? [] : await readTable(`${run}/text/dropped.arrow`, [
        "path",
        "place",
        "reason",
        "kept_path",
        "kept_place",
      ]);
      assertEquals(dropped.map(({ path, place }) => numberAt(path, place)), left);
      for (const { path, place, reason, kept_path, kept_place } of dropped) {
        const [gone, stays] = [numberAt(path, place), numberAt(kept_path, kept_place)];
        assertEquals(reason, TEXTS[gone] === TEXTS[stays] ? "exact" : "near");
        assert(sides[name][stays] !== undefined);
      }
      assertEquals(Object.values(summary.dropped ?? {}).reduce((a, b) => a + b, 0), left.length);
      if (name === "off") assertEquals(summary.dropped, undefined);
    }
    const there = (name: string, pair: number[]) =>
      pair.filter((i) => sides[name][i] !== undefined).length;
    assert(groups.every((pair) => there("off", pair) === 2 && there("groups", pair) === 2));
    assert(groups.every((pair) => there("near", pair) === 1 && there("other", pair) === 1));
    assert(groups.every((pair) => there("exact", pair) === (isCopy(pair) ? 1 : 2)));
    assert(
      groups.some(([a]) => sides.near[a] !== undefined) &&
        groups.some(([, b]) => sides.near[b] !== undefined),
    );
    for (const name of ["exact", "groups"]) {
      for (const [a, b] of groups) {
        if (there(name, [a, b]) === 2) assertEquals(sides[name][a], sides[name][b]);
      }
    }
    assert(
      groups.some(([a, b]) => sides.off[a] !== sides.off[b]),
      "without that groups stand on both sides",
    );
    const grouped = new Set(groups.flat());
    TEXTS.forEach((_, i) => grouped.has(i) || assertEquals(sides.near[i], sides.off[i]));
    const { all } = await findOverlap({ run: `${folder}/near` });
    assertEquals([all.copies, all.near, all.twins], [0, 0, 0]);
  }));

Deno.test("decontaminate leaves out training documents with a passage of a named text, and no held-out ones", () =>
  inFolder(async (folder) => {
    const input = await writeTexts(folder);
    await split(`${folder}/off`, input);
    const sides = await sidesIn(`${folder}/off`);
    const [train, test] = ["train", "test"].map((side) =>
      TEXTS.findIndex((_, i) => sides[i] === side && i % 5 !== 4)
    );
    const parts = [train, test].map((i) => TEXTS[i].split(/\s/).slice(70, 90).join(" "));
    await Deno.writeTextFile(`${folder}/named.txt`, parts.join(" x "));
    const { dropped } = await split(`${folder}/run`, input, {
      decontaminate: [`${folder}/named.txt`],
    });
    const now = await sidesIn(`${folder}/run`);
    const gone = TEXTS.flatMap((text, i) => now[i] === undefined ? [text] : []);
    assertEquals(
      gone,
      TEXTS.filter((text, i) =>
        sides[i] === "train" && parts.some((part) => text.replaceAll("\t", " ").includes(part))
      ),
    );
    assertEquals(dropped, { passage: gone.length });
    assert(now[train] === undefined && now[test] === "test");
    // Of near-duplicates for training one stays that does not leak, whichever comes first in the
    // seeded order. Held-out ones are as before.
    await split(`${folder}/near`, input, { dedup: "near" });
    const before = await sidesIn(`${folder}/near`);
    const near = PAIRS.map((pair) => pair.split(" ").map(Number)).filter(([a, b]) =>
      TEXTS[a] !== TEXTS[b]
    );
    for (
      const [name, pairs] of Object.entries({
        one: near,
        other: near.map((pair) => pair.toReversed()),
      })
    ) {
      const passages = pairs.map(([leaking, clean]) => {
        const own = new Set(listRuns(TEXTS[clean], 13));
        return listRuns(TEXTS[leaking], 13).find((words) => !own.has(words))!;
      });
      const run = `${folder}/near-${name}`;
      const file = `${run}.txt`;
      await Deno.writeTextFile(file, passages.join(" x "));
      await split(run, input, { dedup: "near", decontaminate: [file] });
      const now = await sidesIn(run);
      for (const [leaking, clean] of pairs) {
        const sides = [leaking, clean].map((i) => before[i]);
        assertEquals(
          [now[leaking], now[clean]],
          sides.includes("train") ? [undefined, "train"] : sides,
        );
      }
    }
    const missing = { decontaminate: [`${folder}/none.txt`] };
    await assertRejects(() => split(`${folder}/wrong`, input, missing), InputError, "none.txt");
    // The name says how a file is read, so it is in the key; without the file the run is as it was.
    await Deno.rename(`${folder}/named.txt`, `${folder}/other.txt`);
    const toMake = async () =>
      (await readStatus(`${folder}/run`)).stages
        .filter(({ partition, toMake }) => partition && toMake > 0);
    assertEquals(await toMake(), []);
    const configuration = (await readRunConfiguration(`${folder}/run`))!.configuration;
    const renamed = { ...configuration, decontaminate: [`${folder}/other.txt`] };
    const { nodes } = await partitionGraph(`${folder}/run`, renamed);
    const pruned = nodes.find(({ name }) => name === "text/pruned")!;
    assertEquals((await new Walk(`${folder}/run`, nodes).of(pruned)).state, "waits"); // for the node that hashes the file
  }));
