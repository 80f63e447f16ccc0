import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { encodeLines } from "../../tasks/generate.ts";
import { forOutput } from "../../tasks/cli/layout.ts";
import { byteTokenizer, inServingRun, PREFIX } from "../pipeline/serving/support.ts";
import { lastOfEach, ok, task, taskCommand, taskHere } from "./support.ts";

const tokenizer = await byteTokenizer();
const PROMPT = "the ship and the sea, 日本";

Deno.test("generate writes text alone to standard output and reports on standard error which expert it is of", () =>
  inServingRun(3, async (run) => {
    const args = ["--run", run, "--max-new-tokens", "30", "--seed", "4"];
    const { out, err, stdout } = await ok(task("generate", [...args, "--prompt", PROMPT]));
    assertMatch(
      err,
      /^expert \d of 3: \d+\.\d nats ahead of expert \d \(\d+\.\d\d per predicted token\) over 8 prefix tokens\n$/,
    );
    const json = JSON.parse((await task("generate", [...args, "--prompt", PROMPT, "--json"])).out);
    assertEquals(out, json.text + "\n");
    assertEquals(new TextDecoder("utf-8", { fatal: true }).decode(stdout), out);
    const [prompt] = await tokenizer.encode([PROMPT]);
    assertEquals([json.prompt, json.promptTokens], [PROMPT, [...prompt]]);
    assertEquals(await tokenizer.decode([...prompt, ...json.tokens]), PROMPT + json.text);
    assertEquals([json.tokens.length, json.finish, json.prefixTokens], [30, "length", PREFIX]);
    assertEquals([json.experts, json.scores.length], [3, 3]);
    const [best, next] = [...json.scores].sort((a: number, b: number) => b - a);
    assertEquals([json.scores.indexOf(best), json.scores.indexOf(next)], [
      json.expert,
      json.runnerUp,
    ]);
    assertEquals([json.margin, json.marginPerToken], [best - next, (best - next) / (PREFIX - 1)]);
  }));

Deno.test("generate takes the prompt from standard input, without its last line break, and the same text without the cache", () =>
  inServingRun(3, async (run) => {
    const args = ["--run", run, "--max-new-tokens", "12"];
    const { out } = await task("generate", [...args, "--prompt", PROMPT]);
    for (const more of [[], ["--prompt", "-"], ["--no-cache"]]) {
      assertEquals((await task("generate", [...args, ...more], { input: `${PROMPT}\n` })).out, out);
    }
    const other = await task("generate", [...args, "--json"], { input: `${PROMPT}\n\n` });
    assertEquals(JSON.parse(other.out).prompt, `${PROMPT}\n`);
  }));

Deno.test("generate refuses what it cannot do with exit code 2 and one line", () =>
  inServingRun(3, async (run) => {
    await Deno.remove(`${run}/experts/expert-01`, { recursive: true });
    await Deno.truncate(`${run}/experts/expert-02/model.safetensors`, 1000);
    const cases: [string[], string, (string | Uint8Array)?][] = [
      [[], "it must have a token", "\n"],
      [[], "standard input must be UTF-8", Uint8Array.of(97, 0xff)],
      [["--prompt", "x".repeat(65), "--expert", "0"], "context of 64 tokens: it has 65"],
      [["--prompt", "xy", "--expert", "3"], "one of 0 to 2, the experts of"],
      [
        ["--prompt", "xy", "--expert", "1"],
        `run deno task train-expert --run ${run} --expert 1 first`,
      ],
      [["--prompt", "xy", "--expert", "2"], "must be a whole safetensors file"],
      [["--prompt", "xy", "--run", `${run}/no`], `run deno task partition --run ${run}/no first`],
      [["--temperature", "hot"], 'a number from 0 to 1000: it is "hot"'],
      [["--top-p", "1.5"], "it is 1.5"],
      [["--max-new-tokens", "0"], "it is 0"],
      [["--prompt", "xy", "--adapter", "no such"], 'its name must hold "no such"'],
    ];
    for (const [args, text, input] of cases) {
      const all = lastOfEach(["--run", run, ...args]);
      const { code, out, err } = input
        ? await task("generate", all, { input })
        : await taskHere("generate", all);
      assertEquals([code, out], [2, ""], `${args}: ${err}`);
      assertStringIncludes(err, text);
      assertMatch(err, /^error: Cannot [^\n]+\n$/);
    }
  }));

Deno.test("generate ends quietly where its reader goes away", () =>
  inServingRun(3, async (run) => {
    const child = taskCommand("generate", ["--run", run, "--prompt", PROMPT, "--window"]).spawn();
    const reader = child.stdout.getReader();
    assert(!(await reader.read()).done); // text comes before the end
    await reader.cancel();
    const status = await child.status;
    const said = await new Response(child.stderr).text();
    assertEquals([status.code, said.split("\n").length], [0, 2], said);
  }));

Deno.test("generate ends its line where it is interrupted", () =>
  inServingRun(3, async (run) => {
    const args = ["--run", run, "--prompt", PROMPT, "--window", "--max-new-tokens", "100000"];
    const child = taskCommand("generate", args).spawn();
    const reader = child.stdout.getReader();
    let text = new TextDecoder().decode((await reader.read()).value);
    child.kill("SIGINT");
    for (let next = await reader.read(); !next.done; next = await reader.read()) {
      text += new TextDecoder().decode(next.value);
    }
    assertEquals([(await child.status).code, text.at(-1)], [130, "\n"]);
    const said = await new Response(child.stderr).text();
    assertEquals(said.trimEnd().split("\n").at(-1), "interrupted"); // no word of going on
  }));

const written = async (text: AsyncIterable<string>, shown?: (piece: string) => string) => {
  let out = "";
  try {
    for await (const bytes of encodeLines(text, shown)) out += new TextDecoder().decode(bytes);
  } catch (error) {
    return [out, (error as Error).message];
  }
  return [out];
};

Deno.test("lines() ends text with a line break, also where an error ends it, but writes none for nothing", async () => {
  const failing = async function* (...pieces: string[]) {
    yield* pieces;
    await Promise.resolve();
    throw new Error("stopped");
  };
  assertEquals(await written(ReadableStream.from(["one ", "two"])), ["one two\n"]);
  assertEquals(await written(ReadableStream.from([])), ["\n"]);
  assertEquals(await written(failing("one")), ["one\n", "stopped"]);
  assertEquals(await written(failing()), ["", "stopped"]);
  const pieces = () => ReadableStream.from(["a\u001b[31m\n", "\tb\u202e"]);
  assertEquals(await written(pieces()), ["a\u001b[31m\n\tb\u202e\n"]);
  const onTerminal = (piece: string) => forOutput(piece, true);
  const broken = (...pieces: string[]) => written(ReadableStream.from(pieces), onTerminal);
  assertEquals(await broken("a\r", "\nb\r"), ["a\r\nb\ufffd\n"]); // a line break between two pieces
  assertEquals(await written(pieces(), onTerminal), ["a\ufffd[31m\n\tb\ufffd\n"]);
});
