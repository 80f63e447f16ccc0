import { assertEquals } from "@std/assert";
import type { Generation } from "../../pipeline/serving/mod.ts";
import { lines, routeLine } from "../../tasks/prompt.ts";

const ROUTE = { expert: 2, runnerUp: 0, margin: 12.34, marginPerToken: 0.411, scores: [], prefixTokens: 31 };
const ALONE = [{ expert: 2, weight: 1 }];
const line = (more: Partial<Generation>, model?: string) =>
  routeLine({ expert: 2, experts: 4, route: ROUTE, answering: ALONE, ...more } as Generation, model);

Deno.test("routeLine() says who answers, and how sure that is or why nothing speaks for it", () => {
  assertEquals(line({}), "expert 2 of 4: 12.3 nats ahead of expert 0 (0.41 per token) over 31 prefix tokens");
  assertEquals(line({ route: null }), "expert 2 of 4: as asked");
  assertEquals(line({ route: { ...ROUTE, runnerUp: null }, experts: 1 }), "expert 2 of 1: the only one");
  assertEquals(
    line({ route: { ...ROUTE, prefixTokens: 1 } }),
    "expert 2 of 4: one token alone is no evidence",
  );
  assertEquals(line({ expert: null, route: null }, "dense"), "model dense");
});

const written = async (text: AsyncIterable<string>) => {
  let out = "";
  try {
    for await (const bytes of lines(text)) out += new TextDecoder().decode(bytes);
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
});
