import { assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../../kernels/errors.ts";
import {
  encodeQuestions,
  findData,
  readQuestions,
} from "../../../../pipeline/evaluation/choices/questions.ts";
import { TASKS } from "../../../../pipeline/evaluation/choices/tasks.ts";
import type { Tokenizer } from "../../../../pipeline/text/tokenizer.ts";
import { inFolder, ROOT } from "../../../tasks/support.ts";
import { byteTokenizer } from "../../serving/support.ts";
import { CHARACTERS, GOLDEN } from "./support.ts";

const lines = (documents: unknown[]) =>
  documents.map((document) => `${JSON.stringify(document)}\n`).join("");
const docsOf = (name: string) => GOLDEN[name].map(({ doc }) => doc);

Deno.test("findData() finds questions by their names, JSON lines before Parquet", () =>
  inFolder(async (folder) => {
    assertEquals(await findData(folder, "sciq"), undefined);
    for (const name of ["sciq.parquet", "sciq.jsonl"]) {
      await Deno.writeTextFile(`${folder}/${name}`, "x");
      assertEquals(await findData(folder, "sciq"), `${folder}/${name}`);
    }
  }));

Deno.test("readQuestions() reads the same questions of JSON lines and of Parquet with nested columns", () =>
  inFolder(async (folder) => {
    for (const name of ["arc_easy", "piqa", "mmlu"]) {
      const [task, path] = [TASKS.get(name)!, `${folder}/${name}.jsonl`];
      await Deno.writeTextFile(path, lines(docsOf(name)));
      const expected = docsOf(name).map(task.ask);
      assertEquals(await readQuestions(path, task), expected);
      assertEquals(
        await readQuestions(`${ROOT}fixtures/zero_shot/${name}.parquet`, task),
        expected,
      );
    }
  }));

Deno.test("readQuestions() refuses what is damaged, cut in half or wrong, by file and line", () =>
  inFolder(async (folder) => {
    const path = `${folder}/arc_easy.jsonl`;
    const task = TASKS.get("arc_easy")!;
    const whole = lines(docsOf("arc_easy"));
    const [first, second] = docsOf("arc_easy") as { choices: Record<string, string[]> }[];
    const empty = { ...first, choices: { ...first.choices, text: ["a", "", "c", "d"] } };
    const cases: [string, string][] = [
      ["", `"${path}" as it must hold questions of arc_easy: it holds none`],
      [whole.slice(0, whole.length - 30), "every line must be JSON: invalid JSON on line 3"],
      [
        lines([first, { ...second, question: undefined }]),
        "line 2 as it must be a question of arc_easy: question",
      ],
      [lines([empty]), "no choice must be empty"],
    ];
    for (const [text, message] of cases) {
      await Deno.writeTextFile(path, text);
      const error = await assertRejects(() => readQuestions(path, task), InputError, message);
      assertEquals(error.where, path);
    }
    const parquet = `${folder}/arc_easy.parquet`;
    await Deno.copyFile(`${ROOT}fixtures/zero_shot/piqa.parquet`, parquet);
    await assertRejects(
      () => readQuestions(parquet, task),
      InputError,
      "row 0 as it must be a question of",
    );
  }));

/** Encodes contexts and continuations as they are. */
const encodePrompts = (
  tokenizer: Tokenizer,
  prompts: { context: string; continuations: string[] }[],
  longest: number,
) => {
  const questions = prompts.map(({ context, continuations: choices }) => ({
    context,
    choices,
    delimiter: "",
    gold: 0,
    set: "",
  }));
  return encodeQuestions(tokenizer, questions, longest);
};
const text = (ids: Uint32Array) => String.fromCharCode(...ids);
const encodeOne = async (
  context: string,
  continuations: string[],
  longest = 40,
  tokenizer = CHARACTERS,
) => (await encodePrompts(tokenizer, [{ context, continuations }], longest))[0];

Deno.test("encodeQuestions() moves spaces from a context's end to its continuations, as the harness does", async () => {
  const { context, choices, cut } = await encodeOne("a b \n", [" c", "d"]);
  assertEquals([text(context), cut], ["a b", false]);
  assertEquals(choices.map(({ context, continuation }) => [text(context), text(continuation)]), [
    ["a b", " \n c"],
    ["a b", " \nd"],
  ]);
});

Deno.test("encodeQuestions() puts EOS before a context without a token", async () => {
  for (const context of ["", "  "]) {
    const { context: ids, choices: [choice] } = await encodeOne(context, [" c"]);
    assertEquals([[...ids], [...choice.context], text(choice.continuation)], [
      [0],
      [0],
      `${context} c`,
    ]);
  }
});

Deno.test("encodeQuestions() takes S + 1 tokens, and loses tokens of longer ones at the left", async () => {
  const fits = await encodeOne("abcdef", ["gh", "g"], 7);
  assertEquals([fits.cut, text(fits.context), text(fits.choices[0].context)], [
    false,
    "abcdef",
    "abcdef",
  ]);
  const cut = await encodeOne("abcdef", ["gh", "ghi", "ghijk"], 7);
  assertEquals(
    cut.choices.map(({ context, continuation }) => text(context) + "|" + text(continuation)),
    [
      "abcdef|gh",
      "bcdef|ghi",
      "def|ghijk",
    ],
  );
  assertEquals([cut.cut, text(cut.context)], [true, "def"]); // what stands before every choice
  const long = await encodeOne("a".repeat(200_000), ["bc"], 7);
  assertEquals([long.cut, text(long.context), text(long.choices[0].context)], [
    true,
    "aaaaaa",
    "aaaaaa",
  ]);
  const empty = await encodeOne("", ["abc"], 3);
  assertEquals([[...empty.context], empty.cut], [[0], false]);
});

Deno.test("encodeQuestions() takes what follows as many tokens as the context alone has, for a real tokenizer", async () => {
  const tokenizer = await byteTokenizer();
  const prompts = [
    { context: "the sea and the", continuations: [" ship", " shore 日本", "se"] }, // "these" is another word than "the"
    { context: "naïve ", continuations: [" ship"] },
    { context: "日", continuations: ["本"] },
  ];
  const encoded = await encodePrompts(tokenizer, prompts, 64);
  for (const [i, { context, continuations }] of prompts.entries()) {
    const before = context.trimEnd();
    const [alone] = await tokenizer.encode([before]);
    assertEquals(encoded[i].context, alone);
    for (const [j, continuation] of continuations.entries()) {
      const [whole] = await tokenizer.encode([context + continuation]);
      const { context: own, continuation: rest } = encoded[i].choices[j];
      assertEquals([...own, ...rest], [...whole]);
      assertEquals(own.length, alone.length);
    }
  }
});

Deno.test("encodeQuestions() refuses a continuation without a token, and one of more than S", async () => {
  await assertRejects(
    () => encodeOne("a", [""]),
    InputError,
    "question 1 as each of its choices must have 1 to 40 tokens: one has 0",
  );
  await assertRejects(
    () => encodeOne("a", ["bcde"], 3),
    InputError,
    "must have 1 to 3 tokens: one has 4",
  );
});
