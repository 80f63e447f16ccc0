import { assert, assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../../kernels/errors.ts";
import {
  namesOfNotes,
  notedOutcome,
  noteFile,
  readNote,
  readOutcome,
  writeNote,
} from "../../../../pipeline/reproduction/studies/outcomes.ts";
import { configurationOf } from "../../../../pipeline/reproduction/studies/pieces.ts";
import type { Setup } from "../../../../pipeline/reproduction/studies/study.ts";
import { STAGES } from "../../../../pipeline/stages/graph.ts";
import { inFolder } from "../../../tasks/support.ts";
import { setupsFor, SMALL, wholeOutcome } from "./support.ts";

const [EM] = setupsFor("partitioners");

Deno.test("a note tells of a run of its settings, choices and models, and of no other one", () =>
  inFolder(async (root) => {
    const setup: Setup = { ...EM, models: ["experts", "dense"], choices: { mix: [1, 2] } };
    const whole = wholeOutcome(setup);
    const configuration = { ...configurationOf(SMALL, setup), expertRate: 0.004 };
    await writeNote(root, whole, configuration);
    assertEquals(await namesOfNotes(root), [EM.name]);
    assertEquals(await readOutcome(root, setup, SMALL), whole);
    const told = (one: Partial<Setup> = {}, flags = {}) =>
      notedOutcome(root, { ...setup, ...one }, { ...SMALL, flags });
    for (
      const [one, flags] of [
        [{ models: ["experts"] }],
        [{ choices: undefined }],
        [{ label: "another label" }],
        [{}, { expertRate: 0.004 }], // as it was found
        [{}, { switchExperts: 3 }], // of a model that is none of these
      ] as [Partial<Setup>, object?][]
    ) {
      assert(await told(one, flags), JSON.stringify([one, flags]));
    }
    for (
      const [one, flags] of [
        [{ name: "another-seed-0" }],
        [{ settings: { ...EM.settings, seed: 1 } }],
        [{ models: ["experts", "dense-steps"] }],
        [{ choices: { mix: [1, 4] } }],
        [{ choices: { routeBy: "self" } }],
        [{}, { expertRate: 0.008 }],
        [{}, { denseRate: 0.004 }],
        [{}, { expertSteps: 7 }],
        [{}, { corpusCharacters: 1000 }],
      ] as [Partial<Setup>, object?][]
    ) {
      assertEquals(await told(one, flags), undefined, JSON.stringify([one, flags]));
    }
    // A stage whose results have changed since, and a run that is there, complete or not.
    const kind = STAGES.get("score")!;
    const raised = {
      ...kind,
      of: (c: typeof configuration) => kind.of(c).map((one) => ({ ...one, revision: 99 })),
    };
    STAGES.set("score", raised);
    try {
      assertEquals(await told(), undefined);
    } finally {
      STAGES.set("score", kind);
    }
    assert(await told());
    await Deno.mkdir(`${root}/${EM.name}`);
    await Deno.writeTextFile(`${root}/${EM.name}/config.json`, "{}");
    assertEquals(await told(), undefined);
    assertEquals(await readOutcome(root, setup, SMALL), undefined);
  }));

Deno.test("a note that is no longer as it was written is damage, and says how to go on", () =>
  inFolder(async (root) => {
    assertEquals(await readNote(root, EM.name), null);
    await writeNote(root, wholeOutcome(EM), configurationOf(SMALL, EM));
    const path = `${root}/${noteFile(EM.name)}`;
    const text = await Deno.readTextFile(path);
    const damaged = ["", "{}", "[]", text.slice(0, -9), text.replace('"perplexity": 30', '"perplexity": 31')];
    for (const other of damaged) {
      assert(other !== text);
      await Deno.writeTextFile(path, other);
      const { message } = await assertRejects(
        () => readNote(root, EM.name),
        InputError,
        "what a run came to",
      );
      assert(message.endsWith(`; remove "${path}": what it held is made again`), message);
    }
  }));
