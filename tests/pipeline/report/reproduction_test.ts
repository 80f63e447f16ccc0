import { assertEquals } from "@std/assert";
import { readClaims } from "../../../pipeline/report/reproduction.ts";
import { inFolder } from "../../tasks/support.ts";
import { CLAIMS } from "./support.ts";

Deno.test("readClaims() gives back claims and searches, also of a rate at which training diverged", () =>
  inFolder(async (folder) => {
    const path = `${folder}/reproduction.json`;
    await Deno.writeTextFile(path, JSON.stringify({ ...CLAIMS, crossing: null }));
    assertEquals(await readClaims(path), CLAIMS);
    assertEquals(CLAIMS.search.experts!.trials.map(({ validationLoss }) => validationLoss), [3.9, Infinity]);
  }));
