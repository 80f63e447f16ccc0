import { assertRejects } from "@std/assert";
import { InputError } from "../../../../kernels/errors.ts";
import { checkStudies } from "../../../../pipeline/reproduction/studies/checks.ts";
import { inFolder } from "../../../tasks/support.ts";
import { SMALL, study } from "./support.ts";

const UNKNOWN = { rates: {}, searches: {} };

Deno.test("studies are not kept in a folder that is a run itself", () =>
  inFolder(async (root) => {
    await Deno.writeTextFile(`${root}/config.json`, "{}");
    const asked = { studies: [study("segments")], sources: SMALL, seeds: 1 };
    await assertRejects(() => checkStudies(root, asked, UNKNOWN), InputError, "it is a run itself");
  }));
