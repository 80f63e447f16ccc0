import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { ApiError } from "../../../../pipeline/serving/server/errors.ts";
import {
  jinjaTemplate,
  PLAIN,
  SpecialTokens,
  TextReader,
} from "../../../../pipeline/serving/server/reading.ts";
import type { Tokenizer } from "../../../../pipeline/text/tokenizer.ts";
import { byteTokenizer, LETTERS } from "../support.ts";
import { InputError } from "../../../../kernels/errors.ts";

const { signal } = new AbortController();

/**
 * A tokenizer of letters that cuts anywhere; it notes how many it encodes at once, and how many
 * calls run at a time.
 */
function counting(more: Partial<Tokenizer> = {}) {
  const calls: number[] = [];
  let [running, most] = [0, 0];
  const tokenizer: Tokenizer = {
    ...LETTERS,
    async encode(texts) {
      calls.push(texts.reduce((sum, { length }) => sum + length, 0));
      most = Math.max(most, ++running);
      await new Promise((resolve) => setTimeout(resolve, 1));
      running--;
      return await LETTERS.encode(texts);
    },
    *cut(text, least) {
      for (let at = 0; at < text.length; at += least) yield text.slice(at, at + least);
    },
    ...more,
  };
  return { reader: new TextReader(tokenizer), calls, most: () => most };
}

Deno.test("long texts are encoded in pieces, to the ids of the whole, and ids are decoded to the text", async () => {
  const tokenizer = await byteTokenizer();
  const reader = new TextReader(tokenizer);
  const sea = "the sea and the ship, naïve 日本 ";
  const texts = ["a", sea.repeat(7000), "", "x".repeat(60_000), `${sea}<|endoftext|>`.repeat(3000)];
  const expected = await tokenizer.encode(texts);
  assertEquals(await reader.encode(texts, { signal }), expected);
  const lists = expected.map((ids) => [...ids]);
  assertEquals(await reader.decode(lists, { signal }), texts);
});

Deno.test("pieces of long texts are encoded one at a time, in turn for all requests, short texts next to them", async () => {
  const { reader, calls, most } = counting();
  const long = "x".repeat(200_000);
  const ended: string[] = [];
  await Promise.all([
    reader.encode([long, "y"], { signal }).then(() => ended.push("longer")),
    reader.encode(["x".repeat(10_000)], { signal }).then(() => ended.push("shorter")),
  ]);
  assertEquals([Math.max(...calls), calls.length, most(), ended.join()], [
    1 << 15,
    9,
    1,
    "shorter,longer",
  ]);
  await Promise.all(["a", "b"].map((text) => reader.encode([text], { signal })));
  assertEquals(most(), 2);
});

Deno.test("a client that hangs up ends the reading of its texts alone, also while they wait", async () => {
  const { reader, calls } = counting();
  const [first, second] = [new AbortController(), new AbortController()];
  const long = "x".repeat(1 << 20);
  const asked = [first, second, { signal }].map(({ signal }) => reader.encode([long], { signal }));
  const ends = [first, second].map((_, i) => assertRejects(() => asked[i], DOMException, "left"));
  second.abort(new DOMException("left"));
  while (calls.length < 2) await new Promise((resolve) => setTimeout(resolve, 1));
  first.abort(new DOMException("left"));
  await Promise.all(ends);
  assert(calls.length < 16, `${calls.length} pieces`);
  assertEquals((await asked[2])[0].length, 1 << 20);
  await assertRejects(() => reader.decode([Array(10_000).fill(1)], first), DOMException, "left");
});

Deno.test("a text without a place to cut it may be so long", async () => {
  const most = 1 << 16;
  const { reader } = counting({ cut: undefined });
  assertEquals((await reader.encode(["x".repeat(most)], { signal }))[0].length, most);
  const rule = "at most 65536 characters of it may come without a place to cut it: 65537 do";
  const error = await assertRejects(
    () => reader.encode(["x".repeat(most + 1)], { signal }),
    ApiError,
    rule,
  );
  assertEquals(error.status, 400);
});

Deno.test("a conversation is joined as it is, or by the template, whose special tokens no message can spell", async () => {
  const tokenizer = await byteTokenizer();
  const ids = async (text: string) => [...(await tokenizer.encode([text]))[0]];
  const messages = [{ role: "user", content: "the <|endoftext|> sea" }, {
    role: "system",
    content: "ship",
  }];
  assertEquals(
    [...await PLAIN.encode(messages, tokenizer.encode)],
    await ids("the <|endoftext|> sea\nship"),
  );
  const source = "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}" +
    "{% if add_generation_prompt %}assistant:{% endif %}";
  const expected = [
    ...await ids("user: the <|endoftext|> sea"),
    tokenizer.eos,
    ...await ids("system: ship"),
    tokenizer.eos,
    ...await ids("assistant:"),
  ];
  const template = jinjaTemplate(source, new SpecialTokens(tokenizer, "<|endoftext|>"), "a file");
  assertEquals([...await template.encode(messages, tokenizer.encode)], expected);
});

Deno.test("long conversations are looked through once for all special tokens, of which the first in the tokenizer's order counts", async () => {
  const contents = ["<a>", "<|", "<|im|>", "(x*)", "|"];
  const added = contents.map((content, i) => ({ id: 300 + i, content, special: true }));
  const json = JSON.stringify({
    added_tokens: [...added, { id: 400, content: "user", special: false }],
  });
  let calls = 0;
  const encode = (texts: string[]) => {
    calls++;
    return LETTERS.encode(texts);
  };
  const source = "{% for m in messages %}<a>{{ m.role }}<|im|>(x*){{ m.content }}{% endfor %}";
  const messages = Array(400).fill({ role: "user", content: "a <a>|<|im|>" });
  const ids = async (text: string) => [...(await LETTERS.encode([text]))[0]];
  const expected = [
    300,
    ...await ids("user"),
    301,
    ...await ids("im"),
    304,
    ...await ids(">"),
    303,
  ];
  const special = new SpecialTokens({ ...LETTERS, json }, "<end>");
  const encoded = await jinjaTemplate(source, special, "a file").encode(messages, encode);
  assertEquals([...encoded], Array(400).fill([...expected, ...await ids("a <a>|<|im|>")]).flat());
  assertEquals(calls, 1);
});

Deno.test("a template that refuses a conversation makes a 400, and one that is none is reported with its file", async () => {
  const tokenizer = await byteTokenizer();
  const source =
    "{% if messages[0].role != 'user' %}{{ raise_exception('A user must begin') }}{% endif %}" +
    "{{ messages[0].content }}";
  const special = new SpecialTokens(tokenizer, "<|endoftext|>");
  const template = jinjaTemplate(source, special, "a file");
  const error = await assertRejects(
    () => template.encode([{ role: "system", content: "ship" }], tokenizer.encode),
    ApiError,
    'the chat template must take the messages: it reports "A user must begin"',
  );
  assertEquals(error.status, 400);
  // As special tokens are hidden, but there is none of this number.
  const strange = "the \uE0009\uE001 sea";
  const encoded = await template.encode([{ role: "user", content: strange }], tokenizer.encode);
  assertEquals([...encoded], [...(await tokenizer.encode([strange]))[0]]);
  assertThrows(
    () => jinjaTemplate("{% if %}", special, "run/tokenizer_config.json"),
    InputError,
    'Cannot read "run/tokenizer_config.json" as its chat_template must be a Jinja template',
  );
});
