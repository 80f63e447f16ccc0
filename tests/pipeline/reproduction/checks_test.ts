import { assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { checkParts, checkStudies } from "../../../pipeline/reproduction/checks.ts";
import { writeRunConfiguration } from "../../../pipeline/run/configuration.ts";
import type { Configuration } from "../../../pipeline/settings/configuration.ts";
import { inFolder } from "../../tasks/support.ts";
import { gridOf, setupsFor } from "./support.ts";

/** Checks a study with some flags. */
const check = (
  root: string,
  name: string,
  flags: Partial<Configuration> = {},
  { seeds = 1, only = [] }: { seeds?: number; only?: string[] } = {},
) => checkStudies(root, gridOf([name], seeds, flags), { rates: {}, searches: {} }, only);

Deno.test("studies are refused in a folder that is a run, of text that is read once, or with nothing to compare", () =>
  inFolder(async (root) => {
    const input = ["-"];
    const refused = async (text: string, ...of: [string, Partial<Configuration>, object?]) => {
      const { message } = await assertRejects(() => check(root, ...of), InputError);
      assertStringIncludes(message, text);
    };
    await refused("as every run must read the text: there are 3 of them", "prefix", { input });
    await refused("there are 2 of them", "segments", { input }, { seeds: 2 });
    await check(root, "segments", { input }); // one run
    await check(root, "assignment", { input }, { only: ["em-4-experts-seed-0"] }); // which searches the rates itself
    await refused("there are 2 of them", "assignment", { input }, { only: ["em-argmax-seed-0"] });
    for (const name of ["prefix", "short"]) {
      await refused("must be more than 4: it is 4", name, { prefix: 4, prefixLengths: [] });
      await check(root, name, { prefix: 5 });
    }
    await check(root, "segments", { prefix: 4 });
    await refused("a larger holdout", "segments", { holdout: 0 });
    await Deno.writeTextFile(`${root}/config.json`, "{}");
    await refused("it is a run itself", "segments", {});
  }));

Deno.test("text without held-out sequences, or with fewer labels than experts, is refused before anything is trained", () => {
  const part = (testSequences: number, ...labels: string[]) => ({
    testSequences,
    sources: Object.fromEntries(labels.map((label) => [label, 1])),
  });
  const [segments, partitioners] = ["segments", "partitioners"].map((name) => setupsFor(name));
  const few = [part(1, "a", "b"), part(0, "b", "c")];
  checkParts("run", few, segments);
  checkParts("run", [part(1, "a", "b"), part(0, "c", "d")], partitioners);
  assertThrows(
    () => checkParts("run", few, partitioners),
    InputError,
    'Cannot make "source-4-experts-seed-0" as there must be at least as many labels of sources as experts: there are 3, experts is 4',
  );
  assertThrows(() => checkParts("run", [part(0, "a")], segments), InputError, "there are none");
});

Deno.test("a run of other settings is reported at once, with a remedy", () =>
  inFolder(async (root) => {
    const [setup] = setupsFor("segments");
    const run = `${root}/${setup.name}`;
    await writeRunConfiguration(run, gridOf(["segments"]).configuration(setup));
    await Deno.mkdir(`${run}/tokens/a`, { recursive: true });
    await check(root, "segments");
    const other = { sequenceLength: 128 };
    const { message } = await assertRejects(() => check(root, "segments", other), InputError);
    assertStringIncludes(message, "sequenceLength must be what its config.json");
    assertStringIncludes(message, `or remove "${run}"`);
  }));
