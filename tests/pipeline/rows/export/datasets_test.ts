import { assertEquals } from "@std/assert";
import { writeSplit, writeSplits } from "../../../../pipeline/rows/export/datasets.ts";
import { inFolder } from "../../../tasks/support.ts";
import { grouping, idsOf, readDataset, someTexts } from "./readers.ts";

Deno.test("writeSplit() writes streams of lists and the notes next to them, as load_from_disk reads them", () =>
  inFolder(async (folder) => {
    const texts = someTexts(2500, 70_000);
    const train = await writeSplit(folder, "train", grouping(texts, 37), 1200);
    const test = await writeSplit(folder, "test", grouping([], 1));
    await writeSplits(folder, ["train", "test"]);
    assertEquals(await readDataset(folder), { train: idsOf(texts), test: [] });
    assertEquals(Object.keys(train).sort(), [
      "train/data-00000-of-00003.arrow",
      "train/data-00001-of-00003.arrow",
      "train/data-00002-of-00003.arrow",
      "train/dataset_info.json",
      "train/state.json",
    ]);
    assertEquals(Object.keys(test).length, 3);
    const info = JSON.parse(await Deno.readTextFile(`${folder}/train/dataset_info.json`));
    assertEquals(info.splits.train.num_examples, texts.length);
  }));
