import { assertEquals } from "@std/assert";
import { jinjaTemplate, plainTemplate } from "../../../../pipeline/serving/server/chat.ts";
import { byteTokenizer } from "../support.ts";

Deno.test("a conversation is joined as it is, or by the template, whose special tokens no message can spell", async () => {
  const tokenizer = await byteTokenizer();
  const ids = async (text: string) => [...(await tokenizer.encode([text]))[0]];
  const messages = [{ role: "user", content: "the <|endoftext|> sea" }, { role: "system", content: "ship" }];
  assertEquals(
    [...await plainTemplate(tokenizer).encode(messages)],
    await ids("the <|endoftext|> sea\nship"),
  );
  assertEquals([...await plainTemplate(tokenizer).encode([{ role: "user", content: "" }])], [tokenizer.eos]);
  const source = "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}" +
    "{% if add_generation_prompt %}assistant:{% endif %}";
  const expected = [
    ...await ids("user: the <|endoftext|> sea"),
    tokenizer.eos,
    ...await ids("system: ship"),
    tokenizer.eos,
    ...await ids("assistant:"),
  ];
  assertEquals([...await jinjaTemplate(source, tokenizer).encode(messages)], expected);
});
