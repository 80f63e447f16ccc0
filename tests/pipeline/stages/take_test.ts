import { assertEquals } from "@std/assert";
import { takeNode } from "../../../pipeline/stages/take.ts";
import { inFolder } from "../../tasks/support.ts";
import { byteTokenizer } from "../serving/support.ts";
import { makeNodes, textGraph, tokenizerNode } from "./support.ts";

const TEXTS = Array.from({ length: 30 }, (_, i) => ({
  text: `Text ${i}: ${"and so on. ".repeat(1 + i % 4)}`,
  source: ["one", "two"][i % 2],
}));

/** Gives the numbers of the documents that a limit takes of the only block. */
async function taken(run: string, node: NonNullable<ReturnType<typeof takeNode>>, block: string) {
  const bytes = await Deno.readFile(`${run}/${node.name}/${block}.u32`);
  return [...new Uint32Array(bytes.buffer)];
}

Deno.test("a limit takes the first documents, or those whose hashes are lowest, of every source", () =>
  inFolder(async (run) => {
    const head = await textGraph(run, TEXTS, { maxDocuments: 7, take: "head", experts: 1 });
    const [{ name }] = head.blocks;
    const first = takeNode("documents", head)!;
    await makeNodes(run, [first]);
    assertEquals(await taken(run, first, name), [0, 1, 2, 3, 4, 5, 6]);

    const hash = await textGraph(run, TEXTS, { maxDocuments: 10, take: "hash", experts: 1 });
    const lowest = takeNode("documents", hash)!;
    const manifest = await makeNodes(run, [lowest]);
    const numbers = await taken(run, lowest, name);
    assertEquals((await manifest(lowest.name)).result.documents, 10);
    assertEquals(numbers, numbers.toSorted((a, b) => a - b));
    assertEquals(new Set(numbers.map((number) => TEXTS[number].source)).size, 2);
    // Fewer are the same ones: a hash that is among the lowest five is among the lowest ten.
    const fewer = takeNode(
      "documents",
      await textGraph(run, TEXTS, { maxDocuments: 5, take: "hash", experts: 1 }),
    )!;
    await makeNodes(run, [fewer]);
    for (const number of await taken(run, fewer, name)) {
      assertEquals(numbers.includes(number), true);
    }
  }));

Deno.test("a limit of tokens ends with the document that reaches it", () =>
  inFolder(async (run) => {
    const { encode } = await byteTokenizer();
    const sizes = (await encode(TEXTS.map(({ text }) => text))).map(({ length }) => length + 1);
    const most = sizes[0] + sizes[1] + sizes[2] + 1;
    const of = await textGraph(run, TEXTS, { maxTokens: most, take: "head", experts: 1 });
    const node = takeNode("tokens", of)!;
    await makeNodes(run, [tokenizerNode(), node]);
    assertEquals(await taken(run, node, of.blocks[0].name), [0, 1, 2, 3]);
    assertEquals(takeNode("documents", of), undefined);
  }));
