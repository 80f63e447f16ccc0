import { assertEquals } from "@std/assert";
import type { Generation } from "../../pipeline/serving/mod.ts";
import { changeLine, lines, routeLine } from "../../tasks/prompt.ts";
import { forOutput } from "../../tasks/layout.ts";

const ROUTE = { expert: 2, runnerUp: 0, margin: 12.34, marginPerToken: 0.411, scores: [], prefixTokens: 31 };
const ALONE = [{ expert: 2, weight: 1 }];
const line = (more: Partial<Generation>, model?: string) =>
  routeLine({ expert: 2, experts: 4, route: ROUTE, answering: ALONE, ...more } as Generation, model);

Deno.test("routeLine() reports who answers, and how sure that is or why nothing speaks for it", () => {
  assertEquals(line({}), "expert 2 of 4: 12.3 nats ahead of expert 0 (0.41 per token) over 31 prefix tokens");
  assertEquals(line({ route: null }), "expert 2 of 4: as asked");
  assertEquals(line({ route: { ...ROUTE, runnerUp: null }, experts: 1 }), "expert 2 of 1: the only one");
  assertEquals(
    line({ route: { ...ROUTE, prefixTokens: 1 } }),
    "expert 2 of 4: one token alone is no evidence",
  );
  assertEquals(line({ expert: null, route: null }, "dense"), "model dense");
});

Deno.test("routeLine() and changeLine() tell costs that are no NLLs by their name, in three digits", () => {
  const scores = [-0.84636, -1, -0.81234];
  const route = { ...ROUTE, scores, margin: 0.84636 - 0.81234, cost: "distance" };
  const ahead = "distance 0.812, 0.034 less than that of expert 0,";
  assertEquals(line({ route }), `expert 2 of 4: ${ahead} over 31 prefix tokens`);
  assertEquals(
    changeLine({ tokens: 9, answering: ALONE, route }),
    `expert 2 after 9 new tokens: ${ahead} over the last 31 tokens`,
  );
  const answering = [{ expert: 2, weight: 0.75 }, { expert: 0, weight: 0.25 }];
  assertEquals(
    line({ route, answering }),
    `experts 2 (75.0%) and 0 (25.0%) of 4: expert 2 has the ${ahead} over 31 prefix tokens`,
  );
  assertEquals(
    line({ route: { ...route, scores: [-1, -1, 0], margin: 1, cost: "cost", prefixTokens: 1 } }),
    "expert 2 of 4: cost 0, 1 less than that of expert 0, over 1 prefix token",
  );
});

const written = async (text: AsyncIterable<string>, shown?: (piece: string) => string) => {
  let out = "";
  try {
    for await (const bytes of lines(text, shown)) out += new TextDecoder().decode(bytes);
  } catch (error) {
    return [out, (error as Error).message];
  }
  return [out];
};

Deno.test("lines() ends text with a line break, also where an error ends it, but writes none for nothing", async () => {
  const failing = async function* (...pieces: string[]) {
    yield* pieces;
    await Promise.resolve();
    throw new Error("stopped");
  };
  assertEquals(await written(ReadableStream.from(["one ", "two"])), ["one two\n"]);
  assertEquals(await written(ReadableStream.from([])), ["\n"]);
  assertEquals(await written(failing("one")), ["one\n", "stopped"]);
  assertEquals(await written(failing()), ["", "stopped"]);
  const pieces = () => ReadableStream.from(["a\u001b[31m\n", "\tb\u202e"]);
  assertEquals(await written(pieces()), ["a\u001b[31m\n\tb\u202e\n"]);
  const onTerminal = (piece: string) => forOutput(piece, true);
  const broken = (...pieces: string[]) => written(ReadableStream.from(pieces), onTerminal);
  assertEquals(await broken("a\r", "\nb\r"), ["a\r\nb\ufffd\n"]); // a line break between two pieces
  assertEquals(await written(pieces(), onTerminal), ["a\ufffd[31m\n\tb\ufffd\n"]);
});
