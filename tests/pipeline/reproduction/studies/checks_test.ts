import { assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { InputError } from "../../../../kernels/errors.ts";
import { checkParts, checkStudies } from "../../../../pipeline/reproduction/studies/checks.ts";
import { configurationOf, recipeOf } from "../../../../pipeline/reproduction/studies/pieces.ts";
import { writeRunConfiguration } from "../../../../pipeline/run/configuration.ts";
import { writeManifest } from "../../../../pipeline/run/manifest.ts";
import type { Configuration } from "../../../../pipeline/settings/configuration.ts";
import { inFolder } from "../../../tasks/support.ts";
import { setupsFor, SMALL, study, wholeOutcome } from "./support.ts";

const UNKNOWN = { rates: {}, searches: {} };

/** Checks some studies with some flags. */
const check = (
  root: string,
  names: string[],
  flags: Partial<Configuration>,
  known = UNKNOWN,
  seeds = 1,
  only: string[] = [],
) => checkStudies(root, { studies: names.map(study), sources: { ...SMALL, flags }, seeds, only }, known);

Deno.test("studies are not kept in a folder that is a run itself", () =>
  inFolder(async (root) => {
    await Deno.writeTextFile(`${root}/config.json`, "{}");
    await assertRejects(() => check(root, ["segments"], {}), InputError, "it is a run itself");
  }));

Deno.test("text that can be read only once is refused where several runs would read it", () =>
  inFolder(async (root) => {
    const refused = await assertRejects(() => check(root, ["prefix"], { input: ["-"] }), InputError);
    assertStringIncludes(refused.message, "as every run must read the text: there are 3 of them");
    await assertRejects(() => check(root, ["segments"], { input: ["-"] }, UNKNOWN, 2), InputError);
    await check(root, ["segments"], { input: ["-"] }); // one run
    await check(root, ["assignment"], { input: ["-"] }, UNKNOWN, 1, ["em-4-experts-seed-0"]); // which searches the rates itself
    const other = () => check(root, ["assignment"], { input: ["-"] }, UNKNOWN, 1, ["em-argmax-seed-0"]);
    await assertRejects(other, InputError, "there are 2 of them"); // itself, and the one that searches
  }));

Deno.test("studies of prefixes are refused where none is shorter than that of training, others are not", () =>
  inFolder(async (root) => {
    for (const name of ["prefix", "short"]) {
      const flags = { prefix: 4, prefixLengths: [] };
      await assertRejects(() => check(root, [name], flags), InputError, "must be more than 4: it is 4");
      await check(root, [name], { prefix: 5 });
    }
    await check(root, ["segments"], { prefix: 4 });
  }));

Deno.test("text without held-out sequences, or with fewer labels than experts, is refused before anything is trained", () =>
  inFolder(async (root) => {
    await assertRejects(() => check(root, ["segments"], { holdout: 0 }), InputError, "a larger holdout");
    const part = (testSequences: number, ...labels: string[]) => ({
      ...{ expert: 0, sequences: 1, tokens: 1, nllPerToken: null, words: [], testSequences },
      sources: Object.fromEntries(labels.map((label) => [label, 1])),
    });
    const parts = (...experts: ReturnType<typeof part>[]) => ({ experts });
    const [segments, partitioners] = ["segments", "partitioners"].map((name) => setupsFor(name));
    const few = parts(part(1, "a", "b"), part(0, "b", "c"));
    checkParts(root, few, segments);
    checkParts(root, parts(part(1, "a", "b"), part(0, "c", "d")), partitioners);
    const refused = assertThrows(() => checkParts(root, few, partitioners), InputError);
    assertStringIncludes(
      refused.message,
      'Cannot make "source-4-experts-seed-0" as there must be at least as many labels of sources as experts: there are 3, experts is 4',
    );
    assertThrows(
      () => checkParts(root, parts(part(0, "a"), part(0, "b")), segments),
      InputError,
      "there are none",
    );
  }));

Deno.test("a model that was trained by another learning rate is told of at once, with a remedy that works", () =>
  inFolder(async (root) => {
    const [setup] = setupsFor("segments");
    const run = `${root}/${setup.name}`;
    const configuration = { ...configurationOf(SMALL, setup), denseRate: 0.004 };
    await writeRunConfiguration(run, configuration);
    const [result] = wholeOutcome(setup).trained.dense!; // of the rate 0.004
    const identity = { key: "0", code: "0", revision: 1, configuration: {}, inputs: {} };
    const outputs = { "dense/model.safetensors": { bytes: 1, sha256: "0" } };
    const made = (stage: string) => writeManifest(run, { stage, ...identity }, { outputs, result });
    await made("train-dense");
    const refused = async (flags: Partial<Configuration>, rate?: number) => {
      const rates = rate === undefined ? {} : { [recipeOf("dense", configuration)]: { rate, trials: [] } };
      return (await assertRejects(() => check(root, ["segments"], flags, { ...UNKNOWN, rates }), InputError))
        .message;
    };
    for (const message of [await refused({ denseRate: 0.008 }), await refused({}, 0.008)]) {
      assertStringIncludes(
        message,
        "as denseRate must be what its config.json says: it is 0.008, there it is 0.004",
      );
      assertStringIncludes(message, `or remove "${run}"`);
    }
    const dropped = await refused({});
    assertStringIncludes(
      dropped,
      "it is 0.004, and now neither given nor found; give it with denseRate 0.004",
    );
    await check(root, ["segments"], { denseRate: 0.004 });
    await made("search-dense-steps-0.004"); // another model's
    await made("search-dense-0.008"); // another rate
    assertStringIncludes(await refused({}), "it is 0.004, and now neither given nor found");
    await made("search-dense-0.004"); // is found again from trials
    await check(root, ["segments"], {});
  }));
