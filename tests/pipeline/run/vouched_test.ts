import { assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { hashFile } from "../../../pipeline/run/files.ts";
import { readVouched, Vouched } from "../../../pipeline/run/vouched.ts";
import { inFolder } from "../../tasks/support.ts";

Deno.test("readVouched() gives what the record says, refuses anything else by name, and keeps what was read", () =>
  inFolder(async (folder) => {
    const path = `${folder}/a.txt`;
    await Deno.writeTextFile(path, "sound");
    const record = await hashFile(path);
    const vouched = new Vouched((path) => path.endsWith("a.txt") ? record : undefined);
    assertEquals(new TextDecoder().decode(await readVouched(`${folder}/./a.txt`, vouched)), "sound");
    assertEquals([...vouched.read], [path]);
    await Deno.writeTextFile(path, "sounD");
    const error = await assertRejects(
      () => readVouched(path, vouched),
      InputError,
      "as it was made: its SHA-256 is",
    );
    assertEquals(error.where, path);
    await Deno.writeTextFile(path, "short");
    await assertRejects(
      () => vouched.checkRest(`${folder}/b.txt`).then(() => readVouched(path, vouched)),
      InputError,
    );
    await Deno.writeTextFile(path, "cut");
    await assertRejects(() => readVouched(path, vouched), InputError, "it has 3 bytes, its maker noted 5");
    await readVouched(path); // of which nothing is known
  }));
