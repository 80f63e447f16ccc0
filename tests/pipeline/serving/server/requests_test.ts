import { assertEquals, assertStringIncludes } from "@std/assert";
import * as v from "valibot";
import {
  CHAT,
  COMPLETION,
  DETOKENIZE,
  issueText,
  TOKENIZE,
} from "../../../../pipeline/serving/server/requests.ts";

const SCHEMAS = { COMPLETION, CHAT, TOKENIZE, DETOKENIZE };
type Case = [schema: keyof typeof SCHEMAS, body: Record<string, unknown>];
const messages = [{ role: "user", content: "Hello" }];
const NULLABLE = ["stream", "temperature", "top_p", "top_k", "seed", "n", "stop", "max_tokens", "exclude"];

/** Says what is wrong with a body; undefined where nothing is. */
function wrong(schema: v.GenericSchema, body: unknown): string | undefined {
  const { success, issues } = v.safeParse(schema, body);
  return success ? undefined : issueText(issues);
}

Deno.test("a request may leave out everything but what is asked, and name what it does not want", () => {
  const cases: Case[] = [
    ["COMPLETION", { prompt: "a", later: 1 }],
    ["COMPLETION", { stop: Array(64).fill("a"), exclude: Array(65_535).fill(0) }],
    ["COMPLETION", Object.fromEntries(NULLABLE.map((field) => [field, null]))],
    ["COMPLETION", { frequency_penalty: 0, presence_penalty: 0, logit_bias: {}, best_of: 1, suffix: "" }],
    ["CHAT", { messages, tools: [], response_format: { type: "text" } }],
    ["TOKENIZE", { prompt: "", add_special_tokens: true, parse_special: null }],
    ...["", "a", [1, 2], ["a", "b"], [[1], [2, 3]], ["a", [1]]].map((
      prompt,
    ): Case => ["COMPLETION", { prompt }]),
  ];
  for (const [schema, body] of cases) assertEquals(wrong(SCHEMAS[schema], body), undefined);
  assertEquals(v.parse(COMPLETION, { prompt: "a", later: 1 }), { model: "mixture", prompt: "a" });
});

Deno.test("what is wrong with a request is named by its place, and the first thing alone", () => {
  const many = (value: unknown) => Array(1000).fill(value);
  const cases: [...Case, place: string][] = [
    ["COMPLETION", { temperature: -1 }, "temperature"],
    ["COMPLETION", { top_p: 0 }, "top_p"],
    ["COMPLETION", { n: 0 }, "n"],
    ["COMPLETION", { logprobs: 21 }, "logprobs"],
    ["COMPLETION", { stop: ["a", ""] }, "stop"],
    ["COMPLETION", { stop: Array(65).fill("a") }, "stop"],
    ["COMPLETION", { stop: many(""), exclude: many(-1) }, "stop"],
    ["COMPLETION", { exclude: [1, 0.5] }, "exclude"],
    ["COMPLETION", { exclude: Array(65_536).fill(0) }, "exclude"],
    ["COMPLETION", { frequency_penalty: 0.5 }, "frequency_penalty"],
    ["COMPLETION", { best_of: 2 }, "best_of"],
    ...[[], [[]], [1.5], [-1], 7, {}, many([])].map((prompt): [...Case, string] => [
      ...["COMPLETION", { prompt }, "prompt"] as const,
    ]),
    ["CHAT", { messages: [] }, "messages"],
    ["CHAT", { messages: many({}) }, "messages.0.role"],
    ["CHAT", { messages: [{ role: "user", content: [{ type: "text" }] }] }, "messages.0.content"],
    ["CHAT", { messages, tools: [{}] }, "tools"],
    ["CHAT", { messages, response_format: { type: "json_object" } }, "response_format"],
    ["TOKENIZE", {}, "prompt"],
    ["DETOKENIZE", { tokens: [1, -1] }, "tokens"],
  ];
  for (const [schema, body, place] of cases) {
    const said = wrong(SCHEMAS[schema], body);
    assertStringIncludes(said ?? "nothing", `Cannot read the request as ${place} must be as documented: `);
    assertEquals(v.safeParse(SCHEMAS[schema], body).issues?.length, 1);
  }
  for (const schema of Object.values(SCHEMAS)) {
    for (const body of [[], "text", 7, null]) {
      assertStringIncludes(wrong(schema, body)!, "Cannot read the request as the body must be as documented");
    }
  }
});

Deno.test("a part of a message that is no text is refused in words", () => {
  const content = [{ type: "text", text: "What is this?" }, {
    type: "image_url",
    image_url: { url: "data:," },
  }];
  assertStringIncludes(
    wrong(CHAT, { messages: [...messages, { role: "user", content }] })!,
    "messages.1.content must be as documented: Expected text alone, which is what models here read: a part is of type image_url",
  );
});
