import {
  assert,
  assertEquals,
  assertFalse,
  assertGreater,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import type { RunEvent } from "../../mod.ts";
import { stepText } from "../../tasks/cli/progress.ts";
import { commandOf, inFolder, ROOT, SMALL, smallCorpus, task } from "./support.ts";

/**
 * Runs a task in a terminal of 80 columns, interrupted once `enough` was shown some times, and
 * gives what it shows, a line each time it draws.
 */
async function inTerminal(name: string, args: string[], enough = /$^/g): Promise<string[]> {
  const quoted = [Deno.execPath(), ...commandOf(name), ...args].map((word) => `'${word}'`).join(
    " ",
  );
  const shell = new Deno.Command("script", {
    args: ["-qec", `stty cols 80 rows 24 -echo; ${quoted}`, "/dev/null"],
    cwd: ROOT,
    env: { NO_COLOR: "1", TERM: "xterm" },
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const keys = shell.stdin.getWriter();
  let shown = "";
  let pressed = false;
  for await (const text of shell.stdout.pipeThrough(new TextDecoderStream())) {
    shown += text;
    if (pressed || shown.matchAll(enough).toArray().length < 5) continue;
    pressed = true;
    await keys.write(new TextEncoder().encode("\x03")); // Ctrl-C
  }
  await keys.close().catch(() => {});
  await shell.status;
  // deno-lint-ignore no-control-regex -- these move the cursor, hide it and clear
  return shown.split(/\r|\n|\x1b\[\??[\d;]*[A-Za-z]|\x1b[78]/).map((line) => line.trimEnd()).filter(
    Boolean,
  );
}

/**
 * Checks that what a bar shows is in its line, has all that it must say, and no rate or time that
 * cannot be.
 */
function checkBars(lines: string[], stage: string, parts: RegExp[]): string[] {
  const bars = lines.filter((line) =>
    line.startsWith(stage) && / of [\d,]+( steps| {2}|$)/.test(line)
  );
  assertGreater(bars.length, 2, lines.join("\n"));
  for (const bar of bars) {
    assert(bar.length < 80, bar);
    assert(!/INF|NULL|NaN|undefined/i.test(bar), bar);
    for (const part of parts) assertMatch(bar, part);
    const rate = /([\d,.]+)\/s\b/.exec(bar)?.[1];
    // Steps of a model on this machine.
    if (rate) assert(Number(rate.replaceAll(",", "")) < 20_000, bar);
  }
  return bars;
}

Deno.test("a terminal of 80 columns shows sane rates and times, through rounds and after a resume", () =>
  inFolder(async (folder) => {
    const [run, docs] = [`${folder}/run`, `${folder}/docs.jsonl`];
    await Deno.writeTextFile(docs, smallCorpus());
    const larger = SMALL.map((word, i) => SMALL[i - 1] === "--round-sequences" ? "480" : word);
    const lines = await inTerminal("partition", ["--run", run, "--input", docs, ...larger]);
    assertEquals(
      lines.filter((line) => /^ *round\s+\d of 3/.test(line)).length,
      3,
      lines.join("\n"),
    );
    checkBars(lines, "train-routers", [/^train-routers +[█░]+ +\d+ of 180/]);
    assert(lines.every((line) => !/^\d{4}-/.test(line))); // no times where one looks on

    const parts = [/[\d,]+ of 20,000/, /loss \d\.\d{3}/, /rate \d\.\de[+-]\d$/];
    const train = [
      "--run",
      run,
      "--expert",
      "1",
      "--expert-steps",
      "20000",
      "--checkpoint-every",
      "10",
    ];
    checkBars(
      await inTerminal("train-expert", train, / of 20,000 steps/g),
      "train-expert-01",
      parts,
    );
    const resumed = await inTerminal("train-expert", train, / left/g);
    assert(
      resumed.some((line) => /goes on after step \d+ of 20000/.test(line)),
      resumed.join("\n"),
    );
    const last = checkBars(resumed, "train-expert-01", parts).at(-1)!;
    assertMatch(last, /\b\d+ (s|min|h)( \d+ (s|min))? left/);
  }));

Deno.test("a log tells the time of every line, and --log json gives an object per line, errors among them", () =>
  inFolder(async (folder) => {
    const [run, docs] = [`${folder}/run`, `${folder}/docs.jsonl`];
    await Deno.writeTextFile(docs, smallCorpus());
    const text = await task("tokenize", ["--run", run, "--input", `${folder}/none.jsonl`]);
    assertMatch(text.err, /^error: [^\n]+\n$/);
    const args = ["--run", run, "--input", docs, ...SMALL];
    const made = await task("tokenize", [
      ...["--run", `${folder}/other`, "--input", docs],
      ...["--tokenizer", `${ROOT}fixtures/other_tokenizer.json`],
    ]);
    for (const line of made.err.trimEnd().split("\n")) {
      assertMatch(line, /^\d{4}-\d\d-\d\dT[\d:]{8}Z (tokeniz|warning)/);
    }
    const { err } = await task("partition", [...args, "--log", "json"]);
    const events = err.trimEnd().split("\n").map((line) => JSON.parse(line));
    const kinds = new Set(events.map(({ type }) => type));
    for (const type of ["stage", "adapter", "round"]) assert(kinds.has(type), err);
    for (const { time } of events) assertEquals(new Date(time).toISOString(), time);
    const rounds = events.filter(({ type }) => type === "round");
    assertEquals(rounds.map(({ round, rounds }) => [round, rounds]), [[1, 3], [2, 3], [3, 3]]);
    for (const args of [["--log=json", "--expert", "7"], ["--expert", "7", "--log", "json"]]) {
      const { code, err } = await task("train-expert", ["--run", run, ...args]);
      const { type, message, code: reported } = JSON.parse(err);
      assertEquals([code, type, reported], [2, "error", 2]);
      assertMatch(message, /^Cannot train expert 7/);
    }
  }));

type Step = RunEvent & { type: "progress" };
const step = (done: number, more: Partial<Step> = {}): Step => {
  return { type: "progress", stage: "train-routers", done, total: 1000, unit: "steps", ...more };
};

Deno.test("stepText() leaves the least important out of a narrow terminal, and cuts no number", () => {
  const event = step(1234, {
    stage: "train-expert-02",
    total: 128_000,
    loss: 4.1234,
    learningRate: 1e-3,
    tokensPerSecond: 12_345,
  });
  const pace = { rate: 0.5, left: 2 * 86_400 + 3 * 3600 + 60 };
  assertEquals(
    stepText(event, pace),
    "train-expert-02 1,234 of 128,000 steps  12,345 tokens/s  2 d 3 h left  loss 4.123  rate 1.0e-3",
  );
  const at = (width: number) => stepText(event, pace, width);
  for (let width = 60; width < 200; width++) assert(at(width).length < width, at(width));
  for (const width of [80, 100, 120]) {
    for (const part of ["1,234 of 128,000", "2 d 3 h left", "loss 4.123", "rate 1.0e-3"]) {
      assertStringIncludes(at(width), part);
    }
  }
  assertFalse(at(80).includes("tokens/s"));
  assertEquals(
    stepText(step(512), { rate: 12.34, left: 249.2 }, 80),
    `train-routers  ${"█".repeat(11)}${"░".repeat(10)}  512 of 1,000 steps  12/s  4 min 10 s left`,
  );
});
