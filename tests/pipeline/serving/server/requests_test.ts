import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import * as v from "valibot";
import {
  CHAT,
  COMPLETION,
  DETOKENIZE,
  issueText,
  TOKENIZE,
} from "../../../../pipeline/serving/server/requests.ts";

const MESSAGES = [{ role: "user", content: "Hello" }];
const SCHEMAS = { COMPLETION, CHAT, TOKENIZE, DETOKENIZE };

/** Says what is wrong with a body; undefined where nothing is. */
function wrong(schema: v.GenericSchema, body: unknown): string | undefined {
  const { success, issues } = v.safeParse(schema, body);
  return success ? undefined : issueText(issues);
}

Deno.test("a request may leave out everything but what is asked, or say null, and have fields that are unknown", () => {
  assertEquals(v.parse(COMPLETION, { prompt: "a", later: 1 }), { model: "mixture", prompt: "a" });
  for (
    const field of ["stream", "temperature", "top_p", "top_k", "seed", "n", "stop", "max_tokens", "exclude"]
  ) {
    assertEquals(wrong(COMPLETION, { [field]: null }), undefined, field);
  }
  assertEquals(wrong(CHAT, { messages: MESSAGES }), undefined);
  assertEquals(wrong(COMPLETION, { stop: Array(64).fill("a"), exclude: Array(65_535).fill(0) }), undefined);
});

Deno.test("the check of a request ends with the first thing that is wrong", () => {
  const many = (value: unknown) => Array(1000).fill(value);
  const bodies: [v.GenericSchema, Record<string, unknown>][] = [
    [COMPLETION, { prompt: many([]) }],
    [COMPLETION, { stop: many(""), exclude: many(-1) }],
    [CHAT, { messages: many({}) }],
    [DETOKENIZE, { tokens: many(-1) }],
  ];
  for (const [schema, body] of bodies) assertEquals(v.safeParse(schema, body).issues?.length, 1);
});

Deno.test("a prompt is a text, ids, or a list of either", () => {
  for (const prompt of ["", "a", [1, 2], ["a", "b"], [[1], [2, 3]], ["a", [1]]]) {
    assertEquals(wrong(COMPLETION, { prompt }), undefined, JSON.stringify(prompt));
  }
  for (const prompt of [[], [[]], [1.5], [-1], 7, {}]) {
    assert(wrong(COMPLETION, { prompt }), JSON.stringify(prompt));
  }
});

Deno.test("a field that is not done here may have the value that changes nothing, and is refused by name else", () => {
  const harmless = { frequency_penalty: 0, presence_penalty: 0, logit_bias: {}, best_of: 1, suffix: "" };
  assertEquals(wrong(COMPLETION, harmless), undefined);
  assertEquals(wrong(CHAT, { messages: MESSAGES, tools: [], response_format: { type: "text" } }), undefined);
  const refused = { frequency_penalty: 0.5, logit_bias: { "3": 1 }, best_of: 2, suffix: "x" };
  for (const [field, value] of Object.entries(refused)) {
    assertStringIncludes(
      wrong(COMPLETION, { [field]: value })!,
      `${field} is not supported here: leave it out`,
    );
  }
  for (const [field, value] of [["tools", [{}]], ["response_format", { type: "json_object" }]]) {
    assertStringIncludes(wrong(CHAT, { messages: MESSAGES, [field as string]: value })!, `${field}`);
  }
});

Deno.test("what is out of range or of another kind is named by its place", () => {
  const cases: [keyof typeof SCHEMAS, Record<string, unknown>, string][] = [
    ["COMPLETION", { temperature: -1 }, "temperature"],
    ["COMPLETION", { top_p: 0 }, "top_p"],
    ["COMPLETION", { n: 0 }, "n"],
    ["COMPLETION", { logprobs: 21 }, "logprobs"],
    ["COMPLETION", { stop: "" }, "stop"],
    ["COMPLETION", { stop: ["a", ""] }, "stop"],
    ["COMPLETION", { stop: Array(65).fill("a") }, "stop"],
    ["COMPLETION", { exclude: [1, 0.5] }, "exclude"],
    ["COMPLETION", { exclude: Array(65_536).fill(0) }, "exclude"],
    ["COMPLETION", { prompt: ["a", [-1]] }, "prompt"],
    ["CHAT", { messages: [] }, "messages"],
    ["CHAT", { messages: [{ role: "user", content: [{ type: "image_url" }] }] }, "messages.0.content"],
    ["TOKENIZE", {}, "prompt"],
    ["DETOKENIZE", { tokens: [1, -1] }, "tokens"],
  ];
  for (const [schema, body, place] of cases) {
    const text = wrong(SCHEMAS[schema], body)!;
    assertStringIncludes(text, `Cannot read the request as ${place} must be as documented: `);
  }
});

Deno.test("a body that is no object is called that", () => {
  for (const schema of Object.values(SCHEMAS)) {
    for (const body of [[], "text", 7, null]) {
      assertStringIncludes(wrong(schema, body)!, "Cannot read the request as the body must be as documented");
    }
  }
});
