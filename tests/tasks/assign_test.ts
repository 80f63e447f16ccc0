import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { assignArgmax } from "../../pipeline/partition/assignment/assignment.ts";
import { readPrices } from "../../pipeline/partition/assignment/prices.ts";
import { fromBatch, readShards, toBatch, writeArrowFile } from "../../pipeline/rows/arrow.ts";
import { concatColumns, sliceColumns } from "../../pipeline/rows/columns.ts";
import { LINEAGE, makeColumns } from "../pipeline/rows/support.ts";
import { inFolder, ok, refused, taskHere } from "./support.ts";

/** Scored rows of two experts, in two files; gives their paths and costs. */
async function scores(folder: string) {
  const parts = [makeColumns(20), makeColumns(12, 20)].map((
    { expert: _, tokens: __, ...columns },
  ) => ({ ...columns, nll: columns.nll!.map((_, i) => (i * 7919 + columns.rows) % 101) }));
  const paths = parts.map((_, i) => `${folder}/${i}.arrow`);
  for (const [i, part] of parts.entries()) {
    await writeArrowFile(paths[i], ReadableStream.from([toBatch(part, LINEAGE)]));
  }
  return { paths, nll: concatColumns(parts).nll! };
}

/** Assigns; gives the experts and what was reported. */
async function run(folder: string, paths: string[], ...flags: string[]) {
  const output = `${folder}/out.arrow`;
  const { err } = await ok(taskHere("assign", [...paths, "--output", output, ...flags]));
  const parts = await Array.fromAsync(readShards([output]), (batch) => fromBatch(batch));
  return { experts: [...concatColumns(parts).expert!], reported: err.trim().split("\n") };
}

Deno.test("assign assigns files in their order: equal parts unless another method is named", () =>
  inFolder(async (folder) => {
    const { paths, nll } = await scores(folder);
    const { experts } = await run(folder, paths);
    assertEquals([0, 1].map((e) => experts.filter((expert) => expert === e).length), [16, 16]);
    const best = await run(folder, paths, "--method", "argmax");
    assertEquals(best.experts, [...assignArgmax(nll, 2)]);
  }));

Deno.test("assign proves an optimal assignment, keeps its prices, and assigns by them", () =>
  inFolder(async (folder) => {
    const { paths, nll } = await scores(folder);
    const { experts, reported } = await run(folder, paths, "--method", "optimal");
    const cost = experts.reduce((sum, expert, row) => sum + nll[2 * row + expert], 0);
    assert(
      reported.some((text) => text.startsWith(`cost ${cost.toLocaleString("en")}, bound`)),
      reported.join("\n"),
    );
    // Of two experts the best equal parts are found by sorting differences: the 16 that gain most
    // go to the first.
    const gains = experts.map((_, row) => nll[2 * row + 1] - nll[2 * row]).sort((a, b) => b - a)
      .slice(0, 16);
    const second = experts.reduce((sum, _, row) => sum + nll[2 * row + 1], 0);
    assertEquals(cost, second - gains.reduce((sum, gain) => sum + gain, 0));

    const prices = `${folder}/out.arrow.prices.json`;
    const { prices: kept } = await readPrices(prices);
    const by = await run(folder, paths, "--prices", prices);
    const reference = experts.map((_, row) => {
      const at = [0, 1].map((e) => nll[2 * row + e] + kept[e]);
      return at[0] <= at[1] ? 0 : 1;
    });
    assert(
      by.experts.filter((expert, row) => expert !== reference[row]).length <= 1,
      "a row may be at both prices",
    );
  }));

Deno.test("assign keeps the prices of every output, and touches none of another one or of a run", () =>
  inFolder(async (folder) => {
    const { paths } = await scores(folder);
    await Deno.writeTextFile(`${folder}/prices.json`, "of a run");
    const outputs = paths.map((_, i) => `${folder}/made-${i}.arrow`);
    for (const [i, output] of [...outputs, outputs[0]].entries()) {
      const { err } = await taskHere("assign", [
        paths[i % 2],
        "--method",
        "optimal",
        "--output",
        output,
      ]);
      assertStringIncludes(
        err,
        `${output}.prices.json: the prices, which assign other sequences like these\n`,
      );
    }
    const kept = await Promise.all(outputs.map((output) => readPrices(`${output}.prices.json`)));
    assertEquals(kept.map(({ rows }) => rows), [20, 12]);
    assertEquals(await Deno.readTextFile(`${folder}/prices.json`), "of a run");
  }));

Deno.test("assign finds the experts of other tools' scores behind batches without rows", () =>
  inFolder(async (folder) => {
    const { paths, nll } = await scores(folder);
    const parts = await Array.fromAsync(readShards(paths), (batch) => fromBatch(batch));
    const batches = [sliceColumns(parts[0], 0, 0), ...parts].map((columns) => {
      const batch = toBatch(columns, LINEAGE);
      batch.schema.metadata.clear();
      return batch;
    });
    const path = `${folder}/foreign.arrow`;
    await writeArrowFile(path, ReadableStream.from(batches));
    const { experts } = await run(folder, [path]);
    assertEquals([0, 1].map((e) => experts.filter((expert) => expert === e).length), [16, 16]);
    const best = await run(folder, [path], "--method", "argmax");
    assertEquals(best.experts, [...assignArgmax(nll, 2)]);
  }));

Deno.test("assign goes by the prefix that it is reported where scores do not tell it, and warns without one", () =>
  inFolder(async (folder) => {
    const { paths: [known] } = await scores(folder);
    const [columns] = await Array.fromAsync(readShards([known]), (batch) => fromBatch(batch));
    const batch = toBatch(columns, LINEAGE);
    batch.schema.metadata.clear();
    const path = `${folder}/foreign.arrow`;
    await writeArrowFile(path, ReadableStream.from([batch]));
    const warnings = (reported: string[]) => reported.filter((line) => line.includes("warning: "));
    const whole = await run(folder, [path]);
    assertEquals(warnings(whole.reported).map((text) => text.split("; ")[1]), [
      "set --prefix if some are shorter than it",
    ]);
    const by = await run(folder, [path], "--prefix", String(LINEAGE.prefix));
    assertEquals(warnings(by.reported), []);
    assertEquals(by.experts, (await run(folder, [known])).experts);
    assertEquals(whole.experts.length, columns.rows);
    const other = [known, "--prefix", "3", "--output", `${folder}/out.arrow`];
    await refused(taskHere("assign", other), "prefix");
  }));
