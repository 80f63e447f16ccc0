import { assert, assertEquals } from "@std/assert";
import { arrowCase, doArrowCase, makeSoundFiles } from "../../../fuzz/arrow_cases.ts";
import { inFolder } from "../../../tasks/support.ts";

const CASES = 400; // `deno task fuzz:arrow` takes as many as one likes
const SEED = 61;

Deno.test("readArrow() gives no other rows of a file without manifest whose offsets, lengths, counts or names are damaged", () =>
  inFolder(async (folder) => {
    const files = await makeSoundFiles(folder);
    const counts = { refused: 0, same: 0, "other value": 0 };
    const silent: string[] = [];
    for (let index = 0; index < CASES; index++) {
      const change = arrowCase(files, SEED, index);
      const sound = files.get(change.file)!;
      await doArrowCase(sound, change, `${folder}/damaged.arrow`).then(
        (outcome) => counts[outcome]++,
        (error) => silent.push(`case ${index}, ${JSON.stringify(change)}: ${error.message}`),
      );
    }
    assertEquals(silent, []);
    assert(counts.refused > CASES / 2 && counts["other value"] > 0, JSON.stringify(counts));
  }));
