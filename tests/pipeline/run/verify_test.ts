import { assert, assertEquals, assertRejects } from "@std/assert";
import { InputError, wordText } from "../../../kernels/errors.ts";
import {
  type Manifest,
  noteFiles,
  readManifest,
  splitNeed,
  writeManifest,
} from "../../../pipeline/graph/node.ts";
import { hashFiles } from "../../../pipeline/graph/mod.ts";
import { partitionGraph } from "../../../pipeline/run/plan.ts";
import { verifyRun } from "../../../pipeline/run/verify.ts";
import { type Columns, fromBatch, needColumn, readArrow } from "../../../pipeline/rows/arrow.ts";
import { toBatch, toTable, writeArrowFile } from "../../../pipeline/rows/arrow.ts";
import { readFloats, readIntegers } from "../../../pipeline/rows/column_values.ts";
import { concatColumns, takeColumns } from "../../../pipeline/rows/columns.ts";
import { readLineage } from "../../../pipeline/rows/lineage.ts";
import { writeRunConfiguration } from "../../../pipeline/graph/configuration.ts";
import { sha256 } from "../../../pipeline/graph/files.ts";
import type { Configuration } from "../../../pipeline/settings/configuration.ts";
import { copyFolder, inFolder } from "../../tasks/support.ts";
import { makeSmall, smallSettings, writeTexts } from "./support.ts";

const SHARD = "partition/expert-01/train-00000.arrow";

/** Runs a test with a partition of few blocks. */
function inRun(
  body: (run: string, configuration: Configuration) => Promise<void>,
  more: Partial<Configuration> = { partitioner: "random", method: "balanced" },
): Promise<void> {
  return inFolder(async (folder) => {
    await writeTexts(`${folder}/text`, 12);
    const settings = smallSettings(`${folder}/text`, { holdout: 0.3, blockBytes: 8_000, ...more });
    await makeSmall(`${folder}/run`, settings);
    await writeRunConfiguration(`${folder}/run`, settings);
    await body(`${folder}/run`, settings);
  });
}

/** Lists what is wrong, a line each. */
const problemsOf = async (run: string) =>
  (await verifyRun(run)).problems.map(({ file, what }) => `${file}: ${wordText(what)}`);

/** Lists what is wrong after a change that manifests do not tell of, and copies the run back. */
async function problemsAfter(run: string, change: () => Promise<unknown>): Promise<string[]> {
  const copy = `${run}-copy`;
  copyFolder(run, copy);
  await change();
  const problems = await problemsOf(run);
  await Deno.remove(run, { recursive: true });
  await Deno.rename(copy, run);
  return problems;
}

/** Writes the manifests of a run anew, as if its makers had made the files that are there now. */
async function reseal(
  run: string,
  { nodes }: Pick<Awaited<ReturnType<typeof partitionGraph>>, "nodes">,
  change: (name: string, result: Manifest["result"]) => void = () => {},
): Promise<void> {
  const manifests = new Map<string, Manifest>();
  for (const { name, temporary } of nodes) {
    const manifest = (await readManifest(`${run}/${name}`))!;
    if (!temporary) {
      await Deno.remove(`${run}/${name}/manifest.json`);
      manifest.files = await noteFiles(`${run}/${name}`);
      for (const need of Object.keys(manifest.inputs)) {
        const { name, start } = splitNeed(need);
        manifest.inputs[need] = hashFiles(manifests.get(name)!, start);
      }
      change(name, manifest.result);
      await writeManifest(`${run}/${name}`, manifest, manifest.made);
    }
    manifests.set(name, manifest);
  }
}

/** Changes the rows of a shard. */
async function changeRows(path: string, change: (rows: Columns) => Columns): Promise<void> {
  const batches = await Array.fromAsync(readArrow(path));
  const rows = change(concatColumns(batches.map((batch) => fromBatch(batch))));
  await writeArrowFile(path, ReadableStream.from([toBatch(rows, readLineage(batches[0])!)]));
}

/** Changes the experts and costs of a file of assignments. */
async function changeAssigned(
  path: string,
  change: (rows: { expert: Uint16Array; cost: Float32Array; sequence: BigUint64Array }) => void,
): Promise<void> {
  const [batch] = await Array.fromAsync(readArrow(path));
  const rows = {
    sequence: readIntegers(needColumn(batch, "sequence"), BigUint64Array).slice(),
    expert: readIntegers(needColumn(batch, "expert"), Uint16Array).slice(),
    best: readIntegers(needColumn(batch, "best"), Uint16Array),
    cost: readFloats(needColumn(batch, "cost")).slice(),
    lowest: readFloats(needColumn(batch, "lowest")),
  };
  change(rows);
  await writeArrowFile(path, ReadableStream.from([toTable(rows, readLineage(batch)!)]));
}

for (
  const more of [
    {},
    { partitioner: "source", sourceFromPath: "{source}?.*", method: "argmax" },
    { partitioner: "ctbm", method: "optimal" },
  ]
) {
  Deno.test(`a run is found whole, with foreign files in it: ${JSON.stringify(more)}`, () =>
    inRun(async (run) => {
      await Deno.writeTextFile(`${run}/partition/expert-00/notes.txt`, "mine");
      await Deno.mkdir(`${run}/tokens/mine`);
      const seen: string[] = [];
      const report = await verifyRun(run, ({ phase, done, total }) => {
        assert(done <= total);
        if (done === total) seen.push(phase);
      });
      assertEquals(report.problems, []);
      assertEquals(seen, ["rows", "files"]);
      const rows = async (side: string) => {
        const found = [0, 0];
        for (const expert of [0, 1]) {
          const part = `${run}/partition/expert-0${expert}`;
          for (const { name } of Deno.readDirSync(part)) {
            if (!name.startsWith(`${side}-`)) continue;
            for await (const { numRows } of readArrow(`${part}/${name}`)) found[expert] += numRows;
          }
        }
        return found;
      };
      const sum = (all: number[]) => all.reduce((a, b) => a + b, 0);
      assertEquals(report.loads, await rows("train"));
      assertEquals(report.trainSequences, sum(report.loads));
      assertEquals(report.testSequences, sum(await rows("test")));
      assert(report.files > 20 && report.bytes > 10_000 && report.testSequences > 0);
    }, more));
}

Deno.test("a run by given prices, and one that has blocks of former text, are found whole", () =>
  inRun(async (run, configuration) => {
    const [text] = configuration.input;
    const given = { ...configuration, tokenizer: `${run}/tokenizer.json`, prices: run };
    await makeSmall(`${run}-two`, given);
    await writeRunConfiguration(`${run}-two`, given);
    assertEquals(await problemsOf(`${run}-two`), []);
    await Deno.writeTextFile(`${text}/01.txt`, "a court and a judge ".repeat(200));
    await makeSmall(run, configuration);
    assertEquals(await problemsOf(run), []);
  }));

Deno.test("a bit in any file, a file that is cut, gone or a folder: one line that names it, with what mends it", () =>
  inRun(async (run, configuration) => {
    const { nodes } = await partitionGraph(run, configuration);
    const files: string[] = [];
    for (const { name } of nodes) {
      const { files: own } = (await readManifest(`${run}/${name}`))!;
      files.push(...Object.keys(own).map((file) => `${name}/${file}`));
    }
    const kinds = ["bit", "cut", "gone", "folder"] as const;
    for (const [i, file] of files.entries()) {
      if (i % 3 > 0) continue; // one of three is enough of every kind of file
      const path = `${run}/${file}`;
      const bytes = await Deno.readFile(path);
      const kind = kinds[i / 3 % kinds.length];
      await Deno.remove(path);
      if (kind === "bit") {
        await Deno.writeFile(
          path,
          bytes.with(i * 7919 % bytes.length, bytes[i * 7919 % bytes.length] ^ 4),
        );
      }
      if (kind === "cut") await Deno.writeFile(path, bytes.subarray(0, bytes.length >> 1));
      if (kind === "folder") await Deno.mkdir(path);
      const { problems } = await verifyRun(run);
      assertEquals(problems.map(({ file }) => file), [file], kind);
      assert(wordText(problems[0].remedy).startsWith('run task "partition"'));
      if (kind !== "gone") await Deno.remove(path);
      await Deno.writeFile(path, bytes);
    }
    assertEquals(await problemsOf(run), []);
  }));

Deno.test("nodes that are missing, damaged, of another folder or made of something else are named", () =>
  inRun(async (run, configuration) => {
    const { nodes } = await partitionGraph(run, configuration);
    const named = async (change: () => Promise<unknown>) =>
      (await problemsAfter(run, change)).map((line) => line.replace(/ as it must.*/, ""));
    const scores = nodes.find(({ name }) => name.startsWith("scores/"))!.name;
    for (const name of ["partition/expert-01", "text/index", "partitioner", scores]) {
      const wanted = [`${name}/manifest.json: it must be there: it is missing`];
      assertEquals(await named(() => Deno.remove(`${run}/${name}`, { recursive: true })), wanted);
    }
    const manifest = `${run}/partitioner/manifest.json`;
    assertEquals(await named(() => Deno.writeTextFile(manifest, "{")), [
      `partitioner/manifest.json: Cannot read "${manifest}"`,
    ]);
    assertEquals(
      await named(async () => {
        await Deno.remove(`${run}/partition/expert-01`, { recursive: true });
        copyFolder(`${run}/partition/expert-00`, `${run}/partition/expert-01`);
      }),
      ['partition/expert-01/manifest.json: it must be of this folder: it is of "partition/expert-00"'],
    );
    const [first, ...more] = await named(async () => {
      const node = (await readManifest(`${run}/partitioner`))!;
      const [file] = Object.keys(node.files);
      await Deno.writeTextFile(`${run}/partitioner/${file}`, "other");
      node.files = { [file]: (await noteFiles(`${run}/partitioner`))[file] };
      await writeManifest(`${run}/partitioner`, node);
    });
    assert(
      first.includes('it must be made of what is there now: "partitioner" has changed'),
      first,
    );
    assert(more.every((line) => line.startsWith("scores/")));
    assertEquals(await named(() => Deno.remove(`${run}/config.json`)), [
      "config.json: it must be there: it is not",
    ]);
  }));

Deno.test("a damaged checkpoint and a damaged export are found, with what mends them", () =>
  inRun(async (run) => {
    const state = "scratch/experts~expert-00~0123456789abcdef/step-00000004.safetensors";
    await Deno.mkdir(`${run}/${state}`.replace(/\/step.*/, ""), { recursive: true });
    await Deno.writeTextFile(`${run}/${state}`, "cut");
    await Deno.mkdir(`${run}/export/a`, { recursive: true });
    await Deno.writeTextFile(`${run}/export/a/part.jsonl`, "lines");
    const files = { "part.jsonl": { bytes: 5, sha256: sha256("other") } };
    const note = {
      key: "k",
      name: "export",
      revision: 1,
      settings: { to: "text" },
      inputs: {},
      result: {},
    };
    await writeManifest(`${run}/export/a`, { ...note, files });
    const { problems } = await verifyRun(run);
    assertEquals(problems.map(({ file, remedy }) => [file, wordText(remedy)]), [
      [state, "remove it: what it stands for is made again"],
      ["export/a/part.jsonl", "export it again, with force"],
    ]);
  }));

Deno.test("rows that are missing, twice, swapped, changed or elsewhere are found where they stand", () =>
  inRun(async (run, configuration) => {
    const plan = await partitionGraph(run, configuration);
    const order = (rows: Columns, change: (all: number[]) => number[]) =>
      takeColumns(rows, change([...rows.sequence.keys()]));
    const other = "must be here, unchanged: sequence";
    const token = 32 * 4 + 1;
    const cases: [row: number, text: string, change: (rows: Columns) => Columns][] = [
      [5, other, (rows) => order(rows, (all) => all.filter((row) => row !== 5))],
      [3, other, (rows) => order(rows, (all) => [...all.slice(0, 3), 2, ...all.slice(3)])],
      [0, other, (rows) => order(rows, ([a, b, ...all]) => [b, a, ...all])],
      [
        4,
        "its tokens differ",
        (rows) => ({ ...rows, tokens: rows.tokens!.with(token, rows.tokens![token] ^ 1) }),
      ],
      [
        2,
        "its length differs",
        (rows) => ({ ...rows, length: rows.length.with(2, rows.length[2] - 1) }),
      ],
      [1, "its document differs", (rows) => ({ ...rows, document: rows.document!.with(1, 1n) })],
      [7, "its source differs", (rows) => ({ ...rows, source: rows.source!.with(7, "else") })],
    ];
    for (const [row, text, change] of cases) {
      const [first, ...more] = await problemsAfter(run, async () => {
        await changeRows(`${run}/${SHARD}`, change);
        await reseal(run, plan);
      });
      assert(first.startsWith(`${SHARD}, batch 0, row ${row}: `) && first.includes(text), first);
      assertEquals(more, []);
    }
    const last = (await Array.fromAsync(Deno.readDir(`${run}/partition/expert-01`))).map((
      { name },
    ) => name)
      .filter((name) => name.startsWith("train-")).sort().at(-1)!;
    const twice = await problemsAfter(run, async () => {
      await changeRows(
        `${run}/partition/expert-01/${last}`,
        (rows) => order(rows, (all) => [...all, 0]),
      );
      await reseal(run, plan);
    });
    assertEquals(twice.length, 1);
    assert(twice[0].includes("not a second time"), twice[0]);
    const { loads } = await verifyRun(run);
    assertEquals((await problemsOf(run)).concat(String(loads.length)), ["2"]);
  }));

Deno.test("counts, assignments and proofs that are not those of the rows are found", () =>
  inRun(async (run, configuration) => {
    const plan = await partitionGraph(run, configuration);
    const block = plan.nodes.find(({ name }) => name.startsWith("tokens/"))!.name;
    const reported = async (node: string, change: (result: Manifest["result"]) => void) =>
      await problemsAfter(
        run,
        () => reseal(run, plan, (name, result) => name === node && change(result)),
      );
    const one = async (problems: Promise<string[]>, text: string) => {
      const found = await problems;
      assert(found.length === 1 && found[0].includes(text), found.join("\n"));
    };
    type Any = { train: { tokens: number }; loads: number[]; proof: Record<string, number> };
    const all = "assignments/all";
    await one(reported(block, (result) => result.trainSequences = 1), "its trainSequences must be");
    await one(
      reported("partition/expert-01", (result) => (result as Any).train.tokens++),
      "its train tokens must be",
    );
    await one(reported(all, (result) => (result as Any).loads[0]++), "its loads must be");
    for (const figure of ["cost", "bound", "unbalanced", "rows"]) {
      await one(
        reported(all, (result) => (result as Any).proof[figure] += 1),
        `the ${figure} of its proof`,
      );
    }
    const assigned = `${run}/assignments/all/${block.slice("tokens/".length)}`;
    const changed = (side: string, change: Parameters<typeof changeAssigned>[1]) =>
      problemsAfter(run, async () => {
        await changeAssigned(`${assigned}-${side}.arrow`, change);
        await reseal(run, plan);
      });
    await one(changed("train", ({ cost }) => cost[3]++), "row 3: costs of sequence");
    const id = "row 2: sequence 1 must be that of its scores";
    await one(changed("train", ({ sequence }) => sequence[2] = 1n), id);
    const [other, ...rest] = await changed("test", ({ expert }) => expert[1] = 1 - expert[1]);
    assert(other.includes("row 1: "), other);
    assert(
      rest.length > 0 && rest.every((line) => line.startsWith("partition/expert-0")),
      rest.join("\n"),
    );
  }, { partitioner: "ctbm", method: "optimal" }));

Deno.test("loads that must be balanced and are not are found", () =>
  inRun(async (run, configuration) => {
    const plan = await partitionGraph(run, configuration);
    const { loads } = await verifyRun(run);
    assert(Math.abs(loads[0] - loads[1]) > 1);
    for (const { name } of plan.nodes) {
      if (name !== "assignments/all") continue;
      const manifest = (await readManifest(`${run}/${name}`))!;
      manifest.settings.method = "balanced";
      await writeManifest(`${run}/${name}`, manifest);
    }
    assertEquals(await problemsOf(run), [
      `partition: loads must be equal, or differ by one: they are ${loads.join(", ")}`,
    ]);
  }, { partitioner: "source", sourceFromPath: "{source}?.*", method: "argmax" }));

Deno.test("a part that lies alone is verified, and its mend is to copy it again; a folder that is no run is refused", () =>
  inRun(async (run) => {
    const alone = `${run}-alone`;
    for (const name of ["partition/expert-01", "tokenizer"]) {
      copyFolder(`${run}/${name}`, `${alone}/${name}`);
    }
    await Deno.copyFile(`${run}/config.json`, `${alone}/config.json`);
    const { problems, parts, loads, trainSequences } = await verifyRun(alone);
    const whole = await verifyRun(run);
    assertEquals([problems, parts, loads, trainSequences], [
      [],
      [1],
      [whole.loads[1]],
      whole.loads[1],
    ]);
    await Deno.truncate(`${alone}/${SHARD}`, 300);
    const [cut, ...more] = (await verifyRun(alone)).problems;
    assertEquals([cut.file, more], [SHARD, []]);
    assert(wordText(cut.remedy).startsWith("copy the expert's folder"));
    for (const folder of [`${run}/tokens`, `${run}/none`]) {
      await assertRejects(() => verifyRun(folder), InputError, "must be a run folder");
    }
  }));
