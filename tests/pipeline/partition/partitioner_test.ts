import { assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { readDescription, writeDescription } from "../../../pipeline/partition/partitioner.ts";
import { hashFile } from "../../../pipeline/graph/files.ts";
import { inFolder } from "../../tasks/support.ts";

const DESCRIPTION = {
  kind: "any",
  experts: 2,
  prefix: 8,
  tokenizer: "ab12",
  vocabulary: 99,
  eos: 0,
};

Deno.test("readDescription() gives back what writeDescription() wrote, what a kind adds too; null where there is none", () =>
  inFolder(async (folder) => {
    assertEquals(await readDescription(folder), null);
    assertEquals(await readDescription(`${folder}/nothing`), null);
    const written = await writeDescription(`${folder}/new`, { ...DESCRIPTION, clusters: 3 });
    assertEquals(await hashFile(`${folder}/new/partitioner.json`), written);
    assertEquals(await readDescription(`${folder}/new`), {
      format: 1,
      ...DESCRIPTION,
      clusters: 3,
    });
  }));

Deno.test("readDescription() refuses what is no description, with the field and the file", () =>
  inFolder(async (folder) => {
    const path = `${folder}/partitioner.json`;
    const whole = { format: 1, ...DESCRIPTION };
    const cases: [text: string, fact: string][] = [
      ["{", "JSON"],
      [JSON.stringify({ ...whole, experts: 65_536 }), "experts: there may be 65,535"],
      [JSON.stringify({ ...whole, prefix: 1.5 }), "prefix: "],
      [JSON.stringify({ ...whole, kind: undefined }), "kind: "],
      [
        JSON.stringify({ ...whole, format: 2 }),
        "format: it must be of this version or an older one",
      ],
    ];
    for (const [text, fact] of cases) {
      await Deno.writeTextFile(path, text);
      const error = await assertRejects(() => readDescription(folder), InputError, fact);
      assertEquals(error.where, path);
    }
  }));
