import { assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../../kernels/errors.ts";
import {
  RATES_FILE,
  ratesText,
  readRates,
  writeRates,
} from "../../../../pipeline/reproduction/studies/rates.ts";
import { inFolder } from "../../../tasks/support.ts";

Deno.test("learning rates are noted side by side, with trials that diverged, and damage is told", () =>
  inFolder(async (root) => {
    assertEquals(await readRates(root), {});
    const rate = {
      rate: 0.004,
      trials: [{ rate: 0.008, validationLoss: Infinity }, { rate: 0.004, validationLoss: 3 }],
    };
    await writeRates(root, { one: rate, two: rate });
    await writeRates(root, { two: { ...rate, rate: 0.002 }, three: rate });
    assertEquals(await readRates(root), { one: rate, two: rate, three: rate }); // runs may go by it
    const text = await Deno.readTextFile(`${root}/${RATES_FILE}`);
    assertEquals(ratesText({ two: rate, three: rate, one: rate }), text); // in whichever order they were found
    await Deno.writeTextFile(`${root}/${RATES_FILE}`, "{}");
    await assertRejects(() => readRates(root), InputError, "learning rates that were found");
  }));
