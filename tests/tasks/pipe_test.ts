import { toText } from "@std/streams";
import {
  assert,
  assertEquals,
  assertFalse,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { tableFromIPC } from "@uwdata/flechette";
import { InputError } from "../../kernels/mod.ts";
import { arrowBytes, toBatch } from "../../pipeline/rows/arrow.ts";
import { arrowOutput } from "../../tasks/cli/pipe.ts";
import { bytesOf, LINEAGE, makeColumns, stream } from "../pipeline/rows/support.ts";
import {
  commandOf,
  execute,
  inFolder,
  ok,
  type Outcome,
  refused,
  ROOT,
  sendSignal,
  smallRun,
  task,
  taskCommand,
} from "./support.ts";

const FLAGS = ["--format", "jsonl", "--source-field", "source", "--sequence-length", "32"];

/**
 * Gives a small run, for its tokenizer and routers, its text, and that tokenized and scored in a
 * pipe.
 */
const pipedRun = async () => {
  const { run, docs } = await smallRun();
  return { run, outcomes: await pipeline(run, await Deno.readTextFile(docs)) };
};
let made: ReturnType<typeof pipedRun> | undefined;

/** Runs tokenize, score and assign one into the other. */
async function pipeline(run: string, docs: string): Promise<Outcome[]> {
  const tokens = await task("tokenize", ["-", ...FLAGS, "--tokenizer", `${run}/tokenizer.json`], {
    input: docs,
  });
  const scores = await task("score", ["-", "--routers", `${run}/partitioner`, "--prefix", "16"], {
    input: tokens.stdout,
  });
  const assigned = await task("assign", ["-"], { input: scores.stdout });
  return [tokens, scores, assigned];
}

Deno.test("tokenize, score and assign work as a pipe, and another Arrow implementation reads what comes out", () =>
  inFolder(async () => {
    const { run, docs } = await smallRun();
    const { outcomes } = await (made ??= pipedRun());
    for (const { code, err } of outcomes) assertEquals(code, 0, err);
    const table = tableFromIPC(outcomes[2].stdout, { useBigInt: true });
    assertEquals(table.names, [
      "sequence",
      "document",
      "source",
      "tokens",
      "length",
      "nll",
      "expert",
    ]);
    assertEquals(table.schema.metadata?.get("smalltalk.sequenceLength"), "32");
    const expert = table.getChild("expert").toArray() as ArrayLike<number>;
    const ones = Array.from(expert).filter((value) => value === 1).length;
    assertEquals(ones, Math.floor(table.numRows / 2));
    assertEquals(new Set(table.getChild("source").toArray() as string[]), new Set(["sea", "code"]));
    const again = await pipeline(run, await Deno.readTextFile(docs));
    assertEquals(again[2].stdout, outcomes[2].stdout, "the same bytes again");
  }));

Deno.test("a pipe does not write over the file that its standard input is", () =>
  inFolder(async (folder) => {
    const file = `${folder}/docs.jsonl`;
    await Deno.writeTextFile(file, '{"text": "one"}\n');
    const command = [
      Deno.execPath(),
      ...commandOf("tokenizer"),
      "-",
      "--format",
      "jsonl",
      "--output",
      file,
    ]
      .join(" ");
    await refused(
      execute("sh", ["-c", `${command} < "${file}"`]),
      "it must not take the place of what is read: it is standard input",
    );
    assertEquals(await Deno.readTextFile(file), '{"text": "one"}\n');
  }));

Deno.test("a task whose upstream died stops with exit code 2 and writes no end marker", () =>
  inFolder(async (folder) => {
    const { run, outcomes: [tokens] } = await (made ??= pipedRun());
    const cut = tokens.stdout.subarray(0, tokens.stdout.length - 100);
    const scoring = task("score", ["-", "--routers", `${run}/partitioner`], { input: cut });
    const err = await refused(scoring, "standard input");
    assertFalse(/^\s+at /m.test(err));
    const output = `${folder}/scores.arrow`;
    await task("score", ["-", "--routers", `${run}/partitioner`, "--output", output], {
      input: cut,
    });
    assertEquals([...Deno.readDirSync(folder)], []);
  }));

Deno.test("a task on a pipe that is interrupted while nothing comes leaves nothing next to its output", () =>
  inFolder(async (folder) => {
    const tokenizer = `${ROOT}fixtures/other_tokenizer.json`;
    const output = `${folder}/made`;
    const cases: [string, string[]][] = [
      ["corpus", ["--input", "-", "--format", "jsonl", "--output", output]],
      ["tokenize", ["-", "--format", "jsonl", "--tokenizer", tokenizer, "--output", output]],
      ["assign", ["-", "--output", output]],
    ];
    const { expert: _, tokens: __, ...columns } = makeColumns(3);
    const bytes = await bytesOf(arrowBytes(stream(toBatch(columns, LINEAGE))));
    for (const [name, args] of cases) {
      const child = taskCommand(name, args, { stdin: "piped" }).spawn();
      const writer = child.stdin.getWriter();
      // A pipe that has not ended: of Arrow the end is missing.
      await writer.write(
        name === "assign" ? bytes.slice(0, -8) : new TextEncoder().encode('{"text": "a"}\n'),
      );
      while ([...Deno.readDirSync(folder)].length === 0) {
        await new Promise((done) => setTimeout(done, 20));
      }
      sendSignal(child, "SIGINT");
      const { code, stderr } = await child.output();
      const err = new TextDecoder().decode(stderr);
      await writer.close().catch(() => {});
      assertEquals([code, [...Deno.readDirSync(folder)]], [130, []], `${name}: ${err}`);
      assertStringIncludes(err, "interrupted\n");
    }
  }));

Deno.test("Arrow is not written to a terminal", async () => {
  const { isTerminal } = Deno.stdout;
  Deno.stdout.isTerminal = () => true;
  try {
    const about = { signal: new AbortController().signal, tell() {} };
    await assertRejects(
      () => arrowOutput(ReadableStream.from([]), "-", about),
      InputError,
      "as it is binary",
    );
  } finally {
    Deno.stdout.isTerminal = isTerminal;
  }
});

Deno.test("a task whose reader stops early ends without a word", async () => {
  const child = taskCommand("corpus", ["--output", "-"]).spawn();
  const reader = child.stdout.getReader();
  await reader.read();
  await reader.cancel();
  const error = await toText(child.stderr);
  assertEquals([(await child.status).code, error], [0, ""]);
});

Deno.test("assign finds optimal parts of a pipe by way of a temporary file, and assigns others by their prices", () =>
  inFolder(async (folder) => {
    const { run, outcomes: [, scores] } = await (made ??= pipedRun());
    const output = `${folder}/made/assigned.arrow`;
    const piped = await ok(task("assign", ["-", "--method", "optimal", "--output", output], {
      input: scores.stdout,
    }));
    assertStringIncludes(piped.err, "standard input is first written to ");
    assert(
      /cost [\d,.]+, bound [\d,.]+; gap \S+ nats per sequence, \S+% of what balancing costs/.test(
        piped.err,
      ),
      piped.err,
    );
    const prices = `${output}.prices.json`;
    const { experts, rows, prefix } = JSON.parse(await Deno.readTextFile(prices));
    const table = tableFromIPC(await Deno.readFile(output));
    assertEquals([experts, rows, prefix], [2, table.numRows, 16]);
    const ones = Array.from(table.getChild("expert").toArray() as ArrayLike<number>).filter((e) =>
      e === 1
    ).length;
    assertEquals(ones, Math.floor(rows / 2));

    const byPrices = ["-", "--prices", prices, "--config", `${run}/config.json`]; // which has a method, as every one of a run does
    const priced = await ok(task("assign", byPrices, { input: scores.stdout }));
    assertStringIncludes(priced.err, "the largest deviation of a share from an equal one is");
  }));
