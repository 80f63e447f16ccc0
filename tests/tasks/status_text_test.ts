import { assertEquals, assertMatch } from "@std/assert";
import type { RunStatus, StageStatus } from "../../pipeline/stages/mod.ts";
import { task, type TaskReference } from "../../kernels/mod.ts";
import { statusText } from "../../tasks/status_text.ts";

/** The status of a stage that is made. */
function stageOf(stage: string, more: Partial<StageStatus> = {}): StageStatus {
  const name = stage.replace(/-\d+$/, "");
  return {
    stage,
    about: "",
    partition: name !== "train-expert",
    state: "up to date",
    command: task(name, { run: "runs/a" }),
    revision: { made: 1, now: 1 },
    outputs: { files: 2, bytes: 2 ** 20 },
    settings: { seed: 3, vocabularySize: 300, input: [], tokenizer: "" },
    holders: [],
    ...more,
  } as StageStatus;
}

const statusOf = (...stages: StageStatus[]): RunStatus =>
  ({ run: "runs/a", holders: [], parts: [], text: null, stages }) as unknown as RunStatus;

Deno.test("statusText() puts models that stand alike into one row, and counts the files of all", () => {
  const experts = [0, 1, 2].map((expert) =>
    stageOf(`train-expert-0${expert}`, { command: task("train-expert", { run: "runs/a", expert }) })
  );
  const other = stageOf("train-expert-03", {
    command: task("train-expert", { run: "runs/a", expert: 3 }),
    state: "missing",
    outputs: undefined,
    settings: undefined,
    revision: { made: null, now: 1 },
  });
  const text = statusText(statusOf(...experts, other));
  assertMatch(text, /^train-expert-00 … 02 \(3\) +up to date +6 +3 MiB$/m);
  assertMatch(text, /^train-expert-03 +missing$/m);
  assertMatch(text, /^next: deno task train-expert --run runs\/a --expert 3$/m);
});

Deno.test("statusText() names what nobody asked for by its tasks, and no defaults or marks of JSON", () => {
  const missing = (stage: string, task: TaskReference, more: Partial<StageStatus> = {}) =>
    stageOf(stage, {
      ...{ state: "missing", partition: false, optional: true, outputs: undefined, settings: undefined },
      ...{ command: task, ...more },
    });
  const run = "runs/a";
  const text = statusText(statusOf(
    stageOf("corpus", { outputs: { files: 0, bytes: 0 }, settings: { input: ["a.txt", "b.txt"], seed: 0 } }),
    stageOf("train-dense", {
      partition: false,
      settings: {
        model: { hidden: 8, layers: 1 },
        finalRate: 0.1,
        variants: { rows: "subgroup" },
        format: 3,
      },
    }),
    missing("train-dense-steps", task("train-dense", { run, match: "steps" })),
    missing("zero-shot-piqa", task("zero-shot", { run, task: "piqa" })),
    missing("zero-shot-sciq", task("zero-shot", { run, task: "sciq" })),
    missing("evaluate", task("evaluate", { run }), { optional: false }),
  ));
  assertEquals(
    text,
    [
      "run  runs/a",
      "",
      "stage             state  files   size  note",
      "corpus       up to date",
      "train-dense  up to date      2  1 MiB",
      "evaluate        missing",
      "  files, size: what the stage has made; note: why it is not up to date, or which",
      "  process works on it",
      "",
      "on request: train-dense --match steps, zero-shot",
      "",
      "settings that are not defaults",
      "  corpus  input a.txt b.txt",
      "  train-dense  model (hidden 8, layers 1), final-rate 0.1",
      "",
      "next: deno task evaluate --run runs/a",
    ].join("\n"),
  );
});

Deno.test("statusText() reports what to run next of several models at once, and nothing of what is being made", () => {
  const expert = (id: number, state: StageStatus["state"]) =>
    stageOf(`train-expert-0${id}`, {
      ...{ state, partition: false, command: task("train-expert", { run: "runs/a", expert: id }) },
    });
  const last = (...stages: StageStatus[]) => statusText(statusOf(...stages)).split("\n").at(-1);
  const missing = [expert(1, "missing"), expert(2, "missing")];
  assertEquals(last(...missing), "next: deno task train-expert --run runs/a --expert all");
  assertEquals(last(missing[0]), "next: deno task train-expert --run runs/a --expert 1");
  assertEquals(
    last(expert(0, "out of date"), ...missing),
    "next: deno task train-expert --run runs/a --expert 0",
  );
  assertEquals(last(expert(0, "being made")), "next: nothing, once what is being made is there");
});
