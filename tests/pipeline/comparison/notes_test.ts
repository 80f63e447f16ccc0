import { assertEquals } from "@std/assert";
import { wordText } from "../../../kernels/errors.ts";
import type { ComparedRun, Comparison } from "../../../pipeline/comparison/comparison.ts";
import { evaluationNotes, sourceNote, untoldText } from "../../../pipeline/comparison/notes.ts";

Deno.test("untoldText() lists the runs that tell of no held-out text", () => {
  const text = (...untold: string[]) => untoldText({ sha256: "0", sequences: null, untold });
  assertEquals([text(), text("a"), text("a", "b"), text("a", "b", "c")], [
    "",
    "; a tells of none",
    "; a and b tell of none",
    "; a, b and c tell of none",
  ]);
});

Deno.test("sourceNote() says why sources are not compared", () => {
  const compared = { source: "code", tokens: 1, perplexity: [], best: [] };
  const note = (sourcesApart: string[], unlabelled: string[] = []) =>
    sourceNote({ sources: [compared], sourcesApart, unlabelled } as unknown as Comparison);
  assertEquals([note([]), note(["news"]), note(["law", "news"])], [
    null,
    "1 of 2 sources is not compared, as not all runs have it with as many tokens",
    "2 of 3 sources are not compared, as not all runs have them with as many tokens",
  ]);
  assertEquals([note(["", "news"], ["a"]), note(["", "news"], ["a", "b"])], [
    "a has no labels, so sources are not compared",
    "a and b have no labels, so sources are not compared",
  ]);
});

Deno.test("evaluationNotes() says which runs go by labels, and which are evaluated on a part of the text", () => {
  const notes = (...runs: Partial<ComparedRun>[]) =>
    evaluationNotes({ runs, reference: "a" } as unknown as Comparison).map((note) => wordText(note));
  const run = {
    name: "a",
    run: "runs/a",
    experts: 4,
    routes: true,
    trained: null,
    evaluation: {},
    documents: 90,
    beside: {},
  } as ComparedRun;
  const byLabel = { ...run, routes: false };
  assertEquals(notes(run, { ...byLabel, evaluation: null }), []);
  assertEquals(notes(run, { ...byLabel, name: "b" }), [
    "b routes held-out text by its true labels, which no prompt has, and not by M tokens",
  ]);
  assertEquals(notes(byLabel, { ...byLabel, name: "b" }, { ...run, evaluation: null, trained: [0, 3] }), [
    "a and b route held-out text by its true labels, which no prompt has, and not by M tokens",
    'a is evaluated only on the text that goes to 2 of 4 experts, so it is not compared: run task "evaluate" with run "runs/a" once the others are trained',
  ]);
  const few = notes(run, { ...run, name: "b", documents: 9 });
  assertEquals(few, ["9 documents are too few for intervals of 95%: these are narrower than they should be"]);
  const older = { ...run, documents: null, beside: null };
  assertEquals(
    notes({ ...run, beside: null }, { ...run, name: "b", beside: null }, { ...older, name: "c" }),
    [
      'c is not put beside others, as an older version evaluated it and kept nothing of single documents: run task "evaluate" with run "runs/a", force, with the options that it had',
      "b is not put beside a, as it cuts the text into other documents",
    ],
  );
  assertEquals(notes(older, { ...run, name: "b", evaluation: null, documents: null }), []); // there is nothing to put it beside
});
