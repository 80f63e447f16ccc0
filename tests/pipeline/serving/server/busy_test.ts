import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { withServer } from "./support.ts";

/** Milliseconds that others may wait for a request, however large it is. */
const LONGEST_MS = 100;
const ATTEMPTS = 5; // other programs on the machine delay answers, too: the quickest attempt counts

/** Asks for the health again and again until something ends; gives the longest wait. */
async function longestWait(url: string, asked: Promise<unknown>): Promise<number> {
  let isOver = false;
  asked.finally(() => isOver = true);
  let longest = 0;
  while (!isOver) {
    const start = performance.now();
    await (await fetch(`${url}/health`)).body?.cancel();
    longest = Math.max(longest, performance.now() - start);
    await new Promise((done) => setTimeout(done, 1));
  }
  return longest;
}

Deno.test("a request of millions of ids, or of a word of a million letters, does not keep others waiting", () =>
  withServer({ experts: 2 }, async ({ url }) => {
    const ids = "1,".repeat(4_000_000) + "1";
    const word = "x".repeat(1_000_000);
    const cases: [what: string, path: string, body: string, status: number, text: string][] = [
      ["ids", "/v1/completions", `{"prompt":[${ids}]}`, 400, "at most 131072 values"],
      ["lists", "/v1/completions", `{"prompt":[${"[1],".repeat(2_000_000)}[1]]}`, 400, "values"],
      ["tokens", "/detokenize", `{"tokens":[${ids}]}`, 400, "values"],
      ["fewer ids", "/v1/completions", `{"prompt":[${"1,".repeat(100_000)}1]}`, 400, "context"],
      ["fewer lists", "/v1/completions", `{"prompt":[${"[1],".repeat(100_000)}[1]]}`, 400, "2048"],
      ["a word", "/tokenize", JSON.stringify({ prompt: word }), 400, "a place to cut it"],
      ["its part", "/tokenize", JSON.stringify({ prompt: word.slice(0, 2 ** 16) }), 200, "tokens"],
    ];
    for (const [what, path, body, status, text] of cases) {
      const bytes = new TextEncoder().encode(body);
      let shortest = Infinity; // delay, next to a server that has nothing to do
      for (let attempt = 0; attempt < ATTEMPTS && shortest > LONGEST_MS; attempt++) {
        const idle = new Promise((done) => setTimeout(done, 500));
        const usual = await longestWait(url, idle);
        const asked = fetch(`${url}${path}`, { method: "POST", body: bytes })
          .then(async (response) => ({ status: response.status, text: await response.text() }));
        shortest = Math.min(shortest, await longestWait(url, asked) - usual);
        const answer = await asked;
        assertEquals(answer.status, status, answer.text.slice(0, 300));
        assertStringIncludes(answer.text, text);
      }
      assert(shortest <= LONGEST_MS, `${what}: ${shortest.toFixed(0)} ms`);
    }
  }));
