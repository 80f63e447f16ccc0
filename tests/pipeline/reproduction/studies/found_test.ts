import { assertEquals, assertRejects } from "@std/assert";
import * as v from "valibot";
import { InputError } from "../../../../kernels/errors.ts";
import { readFound } from "../../../../pipeline/reproduction/studies/found.ts";
import { inFolder } from "../../../tasks/support.ts";

Deno.test("readFound() reads notes, none where there are none, and says how to go on where they are damaged", () =>
  inFolder(async (folder) => {
    const path = `${folder}/rates.json`;
    const read = () => readFound(path, v.object({ rate: v.number() }), "learning rates");
    assertEquals(await read(), null);
    await Deno.writeTextFile(path, '{ "rate": 0.5 }');
    assertEquals(await read(), { rate: 0.5 });
    for (const damaged of ["", '{ "rate": 0.', '{ "rate": "x" }']) {
      await Deno.writeTextFile(path, damaged);
      const { message } = await assertRejects(read, InputError);
      assertEquals(message.endsWith(`; remove "${path}": what it held is made again`), true, message);
    }
  }));
