import { assertEquals } from "@std/assert";
import { pruneNodes } from "../../../pipeline/stages/prune.ts";
import { readDocumentRows } from "../../../pipeline/stages/token_rows.ts";
import { PRUNED } from "../../../pipeline/graph/node.ts";
import { readArrow } from "../../../pipeline/rows/arrow.ts";
import { readStrings } from "../../../pipeline/rows/column_values.ts";
import { needColumn } from "../../../pipeline/rows/arrow.ts";
import { inFolder } from "../../tasks/support.ts";
import { makeNodes, textGraph } from "./support.ts";

/** A text of its own: so many words that no other text has. */
const words = (name: string, count: number) =>
  Array.from({ length: count }, (_, i) => `${name}${i}`).join(" ");

const LONG = words("tide", 200);
const TEXTS = [
  { text: LONG }, // line 1
  { text: words("cliff", 200) }, // 2
  { text: LONG }, // 3, equal to 1
  { text: LONG.replace("tide7 ", "ebb7 ") }, // 4, nearly 1
  { text: `${words("gull", 100)} ${words("named", 20)} ${words("reef", 100)}` }, // 5, shares 20 words
  { text: words("wave", 200) }, // 6
].map(({ text }) => ({ text, source: "" }));

/** Gives places and reasons of what is left out. */
async function dropped(run: string) {
  const path = `${run}/${PRUNED}/dropped.arrow`;
  const places = await Array.fromAsync(readDocumentRows(path, ["place"]), ({ place }) => place);
  const reasons = await Array.fromAsync(
    readArrow(path),
    (batch) => readStrings(needColumn(batch, "reason")),
  );
  return places.map((place, i) => [place, reasons.flat()[i]]);
}

Deno.test("equal and nearly equal documents leave one, and passages of a named file go from training text", () =>
  inFolder(async (run) => {
    const file = `${run}/named.txt`;
    await Deno.writeTextFile(file, words("named", 20));
    const left = async (flags: Parameters<typeof textGraph>[2]) => {
      const of = await textGraph(run, TEXTS, { experts: 1, ...flags });
      await makeNodes(run, await pruneNodes(of));
      return await dropped(run);
    };
    assertEquals(await left({ dedup: "exact" }), [[3, "exact"]]);
    // Of the three that are alike one stays: which one, a seed tells.
    const near = await left({ dedup: "near" });
    assertEquals(near.length, 2);
    assertEquals(near.every(([place]) => [1, 3, 4].includes(Number(place))), true);
    assertEquals(await left({ decontaminate: [file] }), [[5, "passage"]]);
  }));
