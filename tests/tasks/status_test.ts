import { assertEquals, assertMatch } from "@std/assert";
import type { RunStatus, StageStatus } from "../../pipeline/run/mod.ts";
import { task } from "../../kernels/mod.ts";
import { statusText } from "../../tasks/status.ts";

/** The status of a stage that is made. */
function upToDateStage(stage: string, more: Partial<StageStatus> = {}): StageStatus {
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

const statusWith = (...stages: StageStatus[]): RunStatus =>
  ({
    run: "runs/a",
    holders: [],
    parts: [],
    text: null,
    settings: { input: ["texts"], sourceFromPath: "{source}/*", vocabularySize: 300 },
    stages,
  }) as unknown as RunStatus;

Deno.test("statusText() puts models that stand alike into one row, and counts the files of all", () => {
  const experts = [0, 1, 2].map((expert) =>
    upToDateStage(`train-expert-0${expert}`, {
      command: task("train-expert", { run: "runs/a", expert }),
    })
  );
  const other = upToDateStage("train-expert-03", {
    command: task("train-expert", { run: "runs/a", expert: 3 }),
    state: "missing",
    outputs: undefined,
    settings: undefined,
    revision: { made: null, now: 1 },
  });
  const text = statusText(statusWith(...experts, other));
  assertMatch(text, /^train-expert-00 … 02 \(3\) +up to date +6 +3 MiB$/m);
  assertMatch(text, /^train-expert-03 +missing$/m);
  assertMatch(text, /^next: deno task train-expert --run runs\/a --expert 3$/m);
  assertMatch(
    text,
    /^settings that were given: --input texts, --source-from-path \{source\}\/\*, --vocab-size 300$/m,
  );
});

Deno.test("statusText() has a row for every branch of a tree and state, whatever else sets experts apart", () => {
  const experts = Array.from(
    { length: 256 },
    (_, expert) =>
      upToDateStage(`train-expert-${String(expert).padStart(3, "0")}`, {
        path: `${expert >> 4}.${expert % 16}`,
        command: task("train-expert", { run: "runs/a", expert }),
        state: expert < 20 ? "up to date" : "missing",
        because: `it was made at ${expert}`,
      }),
  );
  const rows = statusText(statusWith(...experts)).split("\n").filter((line) =>
    /(up to date|missing) /.test(line)
  );
  assertEquals(rows.length, 17);
  assertMatch(rows[1], /^train-expert-016 … 019 \(1\.0 … 1\.3\) +up to date +8 +4 MiB/);
  assertMatch(rows[2], /^train-expert-020 … 031 \(1\.4 … 1\.15\) +missing/);
});
