import { assert, assertEquals, assertMatch } from "@std/assert";
import { type AppOptions, createApp } from "../../../../pipeline/serving/server/app.ts";

/** Asks a server that is still loading its mixture: what is asked for is looked at before. */
async function ask(
  path: string,
  body: string | ReadableStream,
  options: Partial<AppOptions> = {},
  headers: Record<string, string> = {},
): Promise<{ status: number; message: string; request: Request }> {
  const request = new Request(`http://server${path}`, { method: "POST", body, headers });
  const app = createApp({
    ...{ service: () => undefined, isClosing: () => false, maxBody: 2 ** 23, bodyTimeout: 5000 },
    ...options,
  });
  const response = await app(request);
  return { status: response.status, message: (await response.json()).error.message, request };
}

Deno.test("what is wrong with a request is told briefly, however much of it is wrong", async () => {
  const bodies = [
    { prompt: Array(200_000).fill([]) },
    { stop: Array(200_000).fill("a") },
    { exclude: Array(200_000).fill(-1) },
    { temperature: "x".repeat(200_000) },
  ];
  for (const body of bodies) {
    const { status, message } = await ask("/v1/completions", JSON.stringify(body));
    assertEquals(status, 400);
    assertMatch(
      message,
      new RegExp(`^Cannot read the request as ${Object.keys(body)[0]} must be as documented: `),
    );
    assert(message.length < 500, `${message.length} characters`);
  }
});

Deno.test("a request with wrong lists is told which are right, and one with too many messages how many may be", async () => {
  const prompts =
    "Expected a text, a list of texts, a list of ids (whole numbers from 0), or a list of such lists";
  const message = { role: "user", content: "x" };
  const cases: [string, Record<string, unknown>, string][] = [
    ["completions", { prompt: [1.5] }, `prompt must be as documented: ${prompts}`],
    ["completions", { prompt: ["a", []] }, `prompt must be as documented: ${prompts}`],
    [
      "completions",
      { prompt: "a", stop: [""] },
      "stop must be as documented: Expected a text that is not empty, or a list of 64 such texts at most",
    ],
    [
      "chat/completions",
      { messages: Array(10_001).fill(message) },
      "messages must be as documented: Expected a list of 10000 at most",
    ],
  ];
  for (const [path, body, end] of cases) {
    const { status, message } = await ask(`/v1/${path}`, JSON.stringify(body));
    assertEquals([status, message], [400, `Cannot read the request as ${end}`]);
  }
});

Deno.test("nothing is read of a body that comes without a key, or where none belongs", async () => {
  const never = () => new ReadableStream();
  const options = { keys: ["a key"] };
  const refused = await ask("/v1/completions", never(), options);
  assertEquals([refused.status, refused.request.bodyUsed], [401, false]);
  const wrong = await ask("/v1/completions", never(), options, { authorization: "Bearer another" });
  assertEquals([wrong.status, wrong.request.bodyUsed], [401, false]);
  const open = await ask("/health", never(), options);
  assertEquals([open.status, open.request.bodyUsed], [404, false]);
  const right = await ask("/v1/completions", "{}", options, { authorization: "Bearer a key" });
  assertEquals([right.status, right.request.bodyUsed], [503, true]);
});
