import { assertEquals, assertRejects } from "@std/assert";
import { InputError, RunError } from "../../../kernels/errors.ts";
import { writeAtomic } from "../../../pipeline/run/files.ts";
import { exportInto } from "../../../pipeline/stages/export_folder.ts";
import { inFolder } from "../../tasks/support.ts";

/** An export of one file `a.txt` that holds a text. */
function toy(output: string, text: string, fails?: Error) {
  return {
    output,
    of: { text },
    makes: /^[ab]\.txt$/,
    make: async () => {
      const files = { "a.txt": await writeAtomic(`${output}/a.txt`, text) };
      if (fails) throw fails;
      return { files, result: { length: text.length } };
    },
  };
}

const namesIn = (folder: string) => Array.from(Deno.readDirSync(folder), ({ name }) => name).sort();

Deno.test("exportInto() fills a folder that is new or empty, and finds there what it made", () =>
  inFolder(async (folder) => {
    const output = `${folder}/new`;
    const first = await exportInto(toy(output, "one"));
    assertEquals([first.state, first.result], ["done", { length: 3 }]);
    assertEquals(namesIn(output), ["a.txt", "export.json"]);
    assertEquals(await exportInto(toy(output, "one")), { ...first, state: "up to date" });
    await Deno.mkdir(`${folder}/empty`);
    assertEquals((await exportInto(toy(`${folder}/empty`, "one"))).state, "done");
  }));

Deno.test("exportInto() replaces what an export made, after force alone, and never a file of another's", () =>
  inFolder(async (folder) => {
    const output = `${folder}/out`;
    await Deno.mkdir(output);
    await Deno.writeTextFile(`${output}/mine.txt`, "mine");
    await assertRejects(() => exportInto(toy(output, "one")), InputError, 'it holds "mine.txt"');
    assertEquals(namesIn(output), ["mine.txt"]);
    await Deno.remove(`${output}/mine.txt`);
    await exportInto(toy(output, "one"));
    await assertRejects(() => exportInto(toy(output, "two")), InputError, 'must be "two": it is "one"');
    await Deno.writeTextFile(`${output}/mine.txt`, "mine");
    await exportInto({ ...toy(output, "two"), force: true });
    assertEquals(await Deno.readTextFile(`${output}/a.txt`), "two");
    await Deno.writeTextFile(`${output}/b.txt`, "mine"); // a name of an export, but none of its files
    await assertRejects(() => exportInto({ ...toy(output, "one"), force: true }), InputError, '"b.txt"');
    assertEquals(namesIn(output), ["a.txt", "b.txt", "export.json", "mine.txt"]);
    const note = await Deno.readTextFile(`${output}/export.json`);
    await Deno.writeTextFile(`${output}/export.json`, note.replace("two", "too"));
    await assertRejects(() => exportInto(toy(output, "two")), InputError, "must be that of an export");
  }));

Deno.test("exportInto() that failed vouches for nothing and is made again; where nothing was made, nothing stays", () =>
  inFolder(async (folder) => {
    const output = `${folder}/out`;
    await assertRejects(() => exportInto(toy(output, "one", new RunError("full"))), RunError, "full");
    assertEquals(JSON.parse(await Deno.readTextFile(`${output}/export.json`)).complete, false);
    await Deno.writeTextFile(`${output}/a.txt.partial`, "ha");
    assertEquals((await exportInto(toy(output, "two"))).state, "done");
    assertEquals(namesIn(output), ["a.txt", "export.json"]);
    await Deno.writeTextFile(`${folder}/file`, "mine");
    await assertRejects(() => exportInto(toy(`${folder}/file`, "one")), InputError, "it is a file");
  }));
