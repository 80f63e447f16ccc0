import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { InputError } from "../../../../kernels/errors.ts";
import { jinjaTemplate, PLAIN } from "../../../../pipeline/serving/server/chat.ts";
import { ApiError } from "../../../../pipeline/serving/server/errors.ts";
import { SpecialTokens } from "../../../../pipeline/serving/server/special.ts";
import { byteTokenizer, LETTERS } from "../support.ts";

Deno.test("a conversation is joined as it is, or by the template, whose special tokens no message can spell", async () => {
  const tokenizer = await byteTokenizer();
  const ids = async (text: string) => [...(await tokenizer.encode([text]))[0]];
  const messages = [{ role: "user", content: "the <|endoftext|> sea" }, { role: "system", content: "ship" }];
  assertEquals([...await PLAIN.encode(messages, tokenizer.encode)], await ids("the <|endoftext|> sea\nship"));
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
  const json = JSON.stringify({ added_tokens: [...added, { id: 400, content: "user", special: false }] });
  let calls = 0;
  const encode = (texts: string[]) => {
    calls++;
    return LETTERS.encode(texts);
  };
  const source = "{% for m in messages %}<a>{{ m.role }}<|im|>(x*){{ m.content }}{% endfor %}";
  const messages = Array(400).fill({ role: "user", content: "a <a>|<|im|>" });
  const ids = async (text: string) => [...(await LETTERS.encode([text]))[0]];
  const expected = [300, ...await ids("user"), 301, ...await ids("im"), 304, ...await ids(">"), 303];
  const special = new SpecialTokens({ ...LETTERS, json }, "<end>");
  const encoded = await jinjaTemplate(source, special, "a file").encode(messages, encode);
  assertEquals(
    [...encoded],
    Array(400).fill([...expected, ...await ids("a <a>|<|im|>")]).flat(),
  );
  assertEquals(calls, 1);
});

Deno.test("a template that refuses a conversation makes a 400, and one that is none is reported with its file", async () => {
  const tokenizer = await byteTokenizer();
  const source = "{% if messages[0].role != 'user' %}{{ raise_exception('A user must begin') }}{% endif %}" +
    "{{ messages[0].content }}";
  const special = new SpecialTokens(tokenizer, "<|endoftext|>");
  const template = jinjaTemplate(source, special, "a file");
  const error = await assertRejects(
    () => template.encode([{ role: "system", content: "ship" }], tokenizer.encode),
    ApiError,
    'the chat template must take the messages: it reports "A user must begin"',
  );
  assertEquals(error.status, 400);
  const strange = "the \uE0009\uE001 sea"; // as special tokens are hidden, but there is none of this number
  const encoded = await template.encode([{ role: "user", content: strange }], tokenizer.encode);
  assertEquals([...encoded], [...(await tokenizer.encode([strange]))[0]]);
  assertThrows(
    () => jinjaTemplate("{% if %}", special, "run/tokenizer_config.json"),
    InputError,
    'Cannot read "run/tokenizer_config.json" as its chat_template must be a Jinja template',
  );
});
