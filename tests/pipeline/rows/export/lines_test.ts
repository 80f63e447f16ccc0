import { assertEquals } from "@std/assert";
import { writeLines } from "../../../../pipeline/rows/export/mod.ts";
import { inFolder } from "../../../tasks/support.ts";
import { grouping, someTexts } from "./readers.ts";

Deno.test("writeLines() writes a JSON object per text, in files of so many rows", () =>
  inFolder(async (folder) => {
    const texts = someTexts(700, 300);
    const decode = ({ ids }: { ids: ArrayLike<number> }) => Promise.resolve(`a "${ids[0]}"\n小`);
    const records = await writeLines(folder, "train", grouping(texts, 37), { rows: 400, decode });
    assertEquals(Object.keys(records), ["train-00000.jsonl", "train-00001.jsonl"]);
    const lines = await Promise.all(
      Object.keys(records).map((name) => Deno.readTextFile(`${folder}/${name}`)),
    );
    assertEquals(
      lines.join("").trimEnd().split("\n").map((line) => JSON.parse(line)),
      texts.map(({ ids, source }) => ({ text: `a "${ids[0]}"\n小`, source })),
    );
  }));
