import { assert, assertEquals, assertFalse, assertMatch, assertStringIncludes } from "@std/assert";
import type { Training } from "../../pipeline/run/mod.ts";
import { openScreen, watchText } from "../../tasks/watch.ts";
import { inFolder, ok, smallRunAt, taskHere, trainingFlags } from "./support.ts";

const WAITING: Training = {
  model: "expert-00",
  state: "waiting",
  step: 0,
  steps: 400,
  loss: null,
  validationLoss: null,
  rate: null,
  tokens: 0,
  tokensPerSecond: null,
  flopsPerSecond: null,
  utilisation: null,
  secondsLeft: null,
  checkpoint: null,
  updated: null,
  holders: [],
};
const TRAINING: Training = {
  ...WAITING,
  state: "training",
  step: 120,
  loss: 4.1234,
  validationLoss: 4.5678,
  rate: 3e-3,
  tokens: 60_000,
  tokensPerSecond: 12_345,
  flopsPerSecond: 2.5e9,
  utilisation: 0.4,
  secondsLeft: 130,
  checkpoint: { step: 100, at: null },
  holders: [{
    node: "experts/expert-00",
    pid: 77,
    host: "node3",
    since: "",
    task: "train-expert 0",
  }],
};

const many = (count: number, training: Training): Training[] =>
  Array.from(
    { length: count },
    (_, i) => ({ ...training, model: `expert-${String(i).padStart(2, "0")}` }),
  );

Deno.test("watchText() fits the room that there is: fewer columns, rows in one, never a line too many", () => {
  const trainings = [...many(128, WAITING), { ...WAITING, model: "dense" }];
  const atWork = trainings.map((training, i) =>
    i < 40 ? { ...TRAINING, model: training.model } : training
  );
  for (const [columns, rows] of [[110, 24], [70, 12], [40, 10], [200, 60]]) {
    for (const all of [trainings, atWork, many(5, TRAINING)]) {
      const lines = watchText("runs/a", all, { columns, rows }).split("\n");
      assert(lines.length <= rows, `${lines.length} of ${rows}`);
      assert(lines.every((line) => line.length <= columns), lines.join("\n"));
    }
  }
  const text = watchText("runs/a", atWork, { columns: 110, rows: 24 });
  assertStringIncludes(text, "and 24 more\n89 waiting: expert-40 … 127, dense");
  const narrow = watchText("runs/a", [TRAINING], { columns: 60, rows: 24 });
  assertStringIncludes(narrow, "2 min 10 s");
  assertFalse(narrow.includes("GFLOP"));
});

Deno.test("openScreen() shows each text in the place of the one before, and gives the terminal back once", () => {
  let written = "";
  const screen = openScreen((text) => written += text);
  assertEquals(written, "\x1b[?1049h\x1b[?25l");
  written = "";
  screen.show("a\nb");
  assertEquals(written, "\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J");
  written = "";
  screen.close();
  screen.close();
  assertEquals(written, "\x1b[?25h\x1b[?1049l");
});

Deno.test("deno task watch ends once all is trained that somebody asked for", () =>
  inFolder(async (folder) => {
    const { run } = await smallRunAt(`${folder}/run`);
    const place = ["--run", run];
    await ok(taskHere("train-expert", [...place, "--expert", "all", ...trainingFlags(4)]));
    const { log } = console;
    const printed: string[] = [];
    console.log = (line) => void printed.push(line);
    try {
      await ok(taskHere("watch", place));
    } finally {
      console.log = log;
    }
    assertEquals(printed.length, 2, printed.join("\n"));
    await ok(taskHere("submit", [...place, "--settle"])); // its plan has a dense model
    const { out } = await ok(taskHere("watch", [...place, "--once"]));
    assertMatch(out, /^dense +waiting /m);
    assertFalse(out.includes("dense-steps"));
  }));
