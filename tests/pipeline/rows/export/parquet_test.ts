import { assertEquals } from "@std/assert";
import { writeParquet } from "../../../../pipeline/rows/export/mod.ts";
import { inFolder } from "../../../tasks/support.ts";
import { grouping, idsOf, readParquet, someTexts } from "./readers.ts";

Deno.test("writeParquet() writes ids as lists, or their text, in files of so many rows", () =>
  inFolder(async (folder) => {
    const texts = someTexts(2500, 70_000);
    const records = await writeParquet(folder, "train", grouping(texts, 37), { rows: 1200 });
    const names = ["train-00000.parquet", "train-00001.parquet", "train-00002.parquet"];
    assertEquals(Object.keys(records), names);
    const rows = await readParquet(names.map((name) => `${folder}/${name}`));
    assertEquals(rows.map(({ input_ids }) => input_ids), idsOf(texts));
    assertEquals(rows.map(({ source }) => source), texts.map(({ source }) => source));

    const decode = ({ ids }: { ids: ArrayLike<number> }) => Promise.resolve(`小 ${ids[0]}`);
    await writeParquet(folder, "text", grouping(texts, 37), { rows: 5000, decode });
    const said = await readParquet([`${folder}/text-00000.parquet`]);
    assertEquals(said.map(({ text }) => text), texts.map(({ ids }) => `小 ${ids[0]}`));
  }));
