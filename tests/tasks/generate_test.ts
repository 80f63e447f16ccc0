import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { writeDescription } from "../../pipeline/partition/folder.ts";
import { byteTokenizer, EXPERT, PREFIX, servingRun } from "../pipeline/serving/support.ts";
import { inFolder, refusal, task, taskCommand } from "./support.ts";

const tokenizer = await byteTokenizer();
const PROMPT = "the ship and the sea, 日本";

Deno.test("generate writes text alone to standard output and reports on standard error which expert it is of", async () => {
  await inFolder(async (run) => {
    await servingRun(run);
    const args = ["--run", run, "--max-new-tokens", "30", "--seed", "4"];
    const { code, out, err, stdout } = await task("generate", [...args, "--prompt", PROMPT]);
    assertEquals(code, 0, err);
    assertMatch(
      err,
      /^expert \d of 3: \d+\.\d nats ahead of expert \d \(\d+\.\d\d per token\) over 8 prefix tokens\n$/,
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
    assertEquals([json.scores.indexOf(best), json.scores.indexOf(next)], [json.expert, json.runnerUp]);
    assertEquals([json.margin, json.marginPerToken], [best - next, (best - next) / (PREFIX - 1)]);
  });
});

Deno.test("generate takes the prompt from standard input, without its last line break, and the same text without the cache", async () => {
  await inFolder(async (run) => {
    await servingRun(run);
    const args = ["--run", run, "--max-new-tokens", "12"];
    const { out } = await task("generate", [...args, "--prompt", PROMPT]);
    for (const more of [[], ["--prompt", "-"], ["--no-cache"]]) {
      assertEquals((await task("generate", [...args, ...more], { input: `${PROMPT}\n` })).out, out);
    }
    const other = await task("generate", [...args, "--json"], { input: `${PROMPT}\n\n` });
    assertEquals(JSON.parse(other.out).prompt, `${PROMPT}\n`);
  });
});

Deno.test("generate reports when it was given the expert, when nothing speaks for one, and when the context is full", async () => {
  await inFolder(async (run) => {
    await servingRun(run);
    const args = ["--run", run, "--max-new-tokens", "2", "--prompt"];
    assertEquals((await task("generate", [...args, "xy", "--expert", "1"])).err, "expert 1 of 3: as asked\n");
    const one = await task("generate", [...args, "x", "--json"]);
    assertEquals(one.err, "expert 0 of 3: one token alone is no evidence\n");
    const { expert, margin, scores } = JSON.parse(one.out);
    assertEquals([expert, margin, scores], [0, 0, [0, 0, 0]]);
    const model = `${run}/experts/expert-02`;
    assertEquals((await task("generate", [...args, "xy", "--model", model])).err, `model ${model}\n`);
    const long = "x".repeat(EXPERT.context - 1);
    const full = await task("generate", [...args.with(3, "9"), long]);
    assertEquals(full.code, 0);
    assertStringIncludes(full.err, "the text ends with the model's context of 64 tokens; --window goes on\n");
    const slid = await task("generate", [...args.with(3, "9"), long, "--window"]);
    assertEquals(slid.err.split("\n").length, 2);
    assert(slid.out.startsWith(full.out.trimEnd().replace(/\uFFFD+$/, "")));
    const text = full.out.trimEnd();
    const stop = [...text].slice(0, 1).join("");
    assertEquals((await task("generate", [...args.with(3, "9"), long, "--stop", stop])).out, "\n");
  });
});

Deno.test("generate mixes experts, and reports on standard error which, and when others go on", async () => {
  await inFolder(async (run) => {
    await servingRun(run);
    const args = ["--run", run, "--max-new-tokens", "30", "--seed", "3", "--prompt", PROMPT];
    const plain = await task("generate", args);
    assertEquals((await task("generate", [...args, "--mix", "1"])).out, plain.out);
    const two = await task("generate", [...args, "--mix", "2"]);
    assertEquals(two.code, 0, two.err);
    assertMatch(
      two.err,
      /^experts (\d) \(\d+\.\d%\) and (\d) \(\d+\.\d%\) of 3: expert \1 is \d+\.\d nats ahead of expert \2 \(\d\.\d\d per token\) over 8 prefix tokens\n$/,
    );
    const anew = await task("generate", [...args, "--reroute", "2"]);
    assertEquals(anew.code, 0, anew.err);
    const [first, ...changes] = anew.err.trimEnd().split("\n");
    assertMatch(first, /^expert \d of 3: /);
    assert(changes.length > 0, "experts must change in this test");
    const said =
      /^expert \d after (\d+) new tokens?: \d+\.\d nats ahead of expert \d \(\d\.\d\d per token\) over the last 8 tokens$/;
    for (const line of changes) assertMatch(line, said);
    const json = JSON.parse((await task("generate", [...args, "--reroute", "2", "--json"])).out);
    assertEquals(json.text + "\n", anew.out);
    assertEquals([json.answering, json.expert], [[{ expert: json.expert, weight: 1 }], Number(first[7])]);
    assertEquals(
      json.changes.map(({ tokens }: { tokens: number }) => tokens),
      changes.map((line) => Number(said.exec(line)![1])),
    );
  });
});

Deno.test("generate refuses mixtures that cannot be with exit code 2 and one line", async () => {
  await inFolder(async (run) => {
    await servingRun(run);
    const refused = async (args: string[], text: string) => {
      const { code, text: reported } = await refusal("generate", ["--run", run, "--prompt", "xy", ...args]);
      assertEquals(code, 2, `${args}: ${reported}`);
      assertStringIncludes(reported, text);
      assertMatch(reported, /^error: Cannot [^\n]+$/);
    };
    await refused(["--mix", "4"], "--mix must be from 1 to the number of experts, 3: it is 4");
    await refused(["--mix", "two"], 'it is "two"');
    await refused(["--routing-temperature", "2"], "it is 2, and none do; say how many with --mix");
    await refused(
      ["--mix", "2", "--expert", "1"],
      "it is 2, and one model is named; leave out --mix, or --expert and --model",
    );
    await Deno.remove(`${run}/partitioner`, { recursive: true });
    await Deno.mkdir(`${run}/partitioner`);
    const { sha256, vocabulary, eos } = tokenizer;
    const about = { kind: "source", experts: 3, prefix: PREFIX, tokenizer: sha256, vocabulary, eos };
    await writeDescription(`${run}/partitioner`, about);
    const sources = {
      sea: { expert: 0, tokens: 1 },
      code: { expert: 1, tokens: 1 },
      "": { expert: 2, tokens: 1 },
    };
    await Deno.writeTextFile(`${run}/partitioner/sources.json`, JSON.stringify(sources));
    for (const args of [[], ["--mix", "2"], ["--reroute", "4"]]) {
      await refused(args, "Cannot route a text by source as its parts must follow from what a text says");
    }
  });
});

Deno.test("generate refuses what it cannot do with exit code 2 and one line", async () => {
  await inFolder(async (run) => {
    await servingRun(run);
    await Deno.remove(`${run}/experts/expert-01`, { recursive: true });
    await Deno.truncate(`${run}/experts/expert-02/model.safetensors`, 1000);
    const cases: [string[], string | Uint8Array, string][] = [
      [[], "", "it must have a token"],
      [[], "\n", "it must have a token"],
      [[], Uint8Array.of(97, 0xff), "standard input must be UTF-8"],
      [["--prompt", "x".repeat(65), "--expert", "0"], "", "context of 64 tokens: it has 65"],
      [["--expert", "3"], "xy", "one of 0 to 2, the experts of"],
      [["--expert", "1"], "xy", `run deno task train-expert --run ${run} --expert 1 first`],
      [["--expert", "2"], "xy", "must be a whole safetensors file"],
      [["--run", `${run}/no`], "xy", `run deno task partition --run ${run}/no first`],
      [["--temperature", "hot"], "xy", 'a number from 0 to 1000: it is "hot"'],
      [["--top-p", "1.5"], "xy", "it is 1.5"],
      [["--max-new-tokens", "0"], "xy", "it is 0"],
    ];
    for (const [args, input, text] of cases) {
      const { code, out, err } = await task("generate", ["--run", run, ...args], { input });
      assertEquals([code, out], [2, ""], `${args}: ${err}`);
      assertStringIncludes(err, text);
      assertMatch(err, /^error: Cannot [^\n]+\n$/);
    }
  });
});

Deno.test("generate ends with 2 where the adapter has another name, and quietly where its reader goes away", async () => {
  await inFolder(async (run) => {
    await servingRun(run);
    const { code, err } = await task("generate", ["--run", run, "--prompt", "xy", "--adapter", "no such"]);
    assertEquals(code, 2);
    assertMatch(err, /^error: [^\n]+its name must hold "no such": [^\n]+; leave --adapter out[^\n]+\n$/);
    const child = taskCommand("generate", ["--run", run, "--prompt", PROMPT, "--window"]).spawn();
    const reader = child.stdout.getReader();
    assert(!(await reader.read()).done); // text comes before the end
    await reader.cancel();
    const status = await child.status;
    const said = await new Response(child.stderr).text();
    assertEquals([status.code, said.split("\n").length], [0, 2], said);
  });
});

Deno.test("generate ends its line where it is interrupted", async () => {
  await inFolder(async (run) => {
    await servingRun(run);
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
  });
});
