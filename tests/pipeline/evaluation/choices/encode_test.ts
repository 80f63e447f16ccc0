import { assert, assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../../kernels/errors.ts";
import {
  branchesOf,
  encodeQuestions,
  fittingQuestions,
} from "../../../../pipeline/evaluation/choices/encode.ts";
import type { Tokenizer } from "../../../../pipeline/text/tokenizer.ts";
import { byteTokenizer } from "../../serving/support.ts";
import { CHARACTERS } from "./support.ts";

/** Encodes contexts and continuations as they are. */
const encodePrompts = (
  tokenizer: Tokenizer,
  prompts: { context: string; continuations: string[] }[],
  longest: number,
) => {
  const questions = prompts.map(({ context, continuations: choices }) => ({
    ...{ description: "", context, choices, delimiter: "", gold: 0, set: "" },
  }));
  return encodeQuestions(tokenizer, questions, prompts.map(({ context }) => context), longest);
};
const text = (ids: Uint32Array) => String.fromCharCode(...ids);
const encodeOne = async (context: string, continuations: string[], longest = 40, tokenizer = CHARACTERS) =>
  (await encodePrompts(tokenizer, [{ context, continuations }], longest))[0];

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
    assertEquals([[...ids], [...choice.context], text(choice.continuation)], [[0], [0], `${context} c`]);
  }
});

Deno.test("encodeQuestions() takes S + 1 tokens, and loses tokens of longer ones at the left", async () => {
  const fits = await encodeOne("abcdef", ["gh", "g"], 7);
  assertEquals([fits.cut, text(fits.context), text(fits.choices[0].context)], [false, "abcdef", "abcdef"]);
  const cut = await encodeOne("abcdef", ["gh", "ghi", "ghijk"], 7);
  assertEquals(cut.choices.map(({ context, continuation }) => text(context) + "|" + text(continuation)), [
    "abcdef|gh",
    "bcdef|ghi",
    "def|ghijk",
  ]);
  assertEquals([cut.cut, text(cut.context)], [true, "def"]); // what stands before every choice
  const long = await encodeOne("a".repeat(200_000), ["bc"], 7);
  assertEquals([long.cut, text(long.context), text(long.choices[0].context)], [true, "aaaaaa", "aaaaaa"]);
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

Deno.test("encodeQuestions() encodes many prompts as it encodes each", async () => {
  const prompts = Array.from(
    { length: 600 },
    (_, i) => ({ context: `q${i}`, continuations: [` ${i}`, " x"] }),
  );
  const all = await encodePrompts(CHARACTERS, prompts, 40);
  for (const i of [0, 255, 256, 599]) {
    assertEquals(all[i], (await encodePrompts(CHARACTERS, [prompts[i]], 40))[0]);
  }
});

Deno.test("encodeQuestions() refuses a continuation without a token, and one of more than S", async () => {
  await assertRejects(
    () => encodeOne("a", [""]),
    InputError,
    "question 1 as each of its choices must have 1 to 40 tokens: one has 0",
  );
  await assertRejects(() => encodeOne("a", ["bcde"], 3), InputError, "must have 1 to 3 tokens: one has 4");
  const swallows: Tokenizer = { // joins "ab" into one token, so that nothing follows the context's
    ...CHARACTERS,
    encode: (texts) => Promise.resolve(texts.map((text) => Uint32Array.of(text.length))),
  };
  await assertRejects(() => encodeOne("a", ["b"], 40, swallows), InputError, "one has 0");
});

Deno.test("fittingQuestions() leaves out questions of which a choice makes more than S + 1 tokens", async () => {
  const ask = (context: string, choices: string[]) => (
    { description: "", context, choices, delimiter: " ", gold: 0, set: "" }
  );
  const questions = [
    ask("abc", ["d", "ef"]),
    ask("abc", ["d", "efg"]),
    ask("abcd", ["e"]),
    ask("abcdef", ["e"]),
  ];
  assertEquals(await fittingQuestions(CHARACTERS, questions, 5), [questions[0], questions[2]]);
  assertEquals(await fittingQuestions(CHARACTERS, [], 5), []);
});

Deno.test("branchesOf() puts choices after the same tokens together, and says where each comes from", async () => {
  const prompts = await encodePrompts(CHARACTERS, [
    { context: "abcdef", continuations: ["g", "ghij", "h"] },
    { context: "abcdef", continuations: ["x"] },
  ], 7);
  const { texts, at } = branchesOf(prompts);
  assertEquals(texts.map(({ context, continuations }) => [text(context), continuations.map(text)]), [
    ["abcdef", ["g", "h"]],
    ["cdef", ["ghij"]],
    ["abcdef", ["x"]],
  ]);
  assertEquals(at, [[[0, 0], [0, 2]], [[0, 1]], [[1, 0]]]);
  assert(texts.every(({ context }) => context.length > 0));
});
