import { assertEquals } from "@std/assert";
import { indexNode } from "../../../pipeline/stages/documents.ts";
import { readRunText, readRunTokens } from "../../../pipeline/stages/stored_text.ts";
import { DOCUMENTS, readDocumentRows, tokensNode } from "../../../pipeline/stages/token_rows.ts";
import { sequencesNode, tokenizeNodes } from "../../../pipeline/stages/tokenize.ts";
import { inFolder } from "../../tasks/support.ts";
import { makeNodes, textGraph, tokenizerNode } from "./support.ts";

/** Texts of 1 to 40 bytes, so that every length of a last sequence occurs. */
const TEXTS = Array.from({ length: 40 }, (_, i) => ({
  text: "Größe, 東京 & 🙂: one two three four five".slice(0, i + 1).toWellFormed(),
}));

for (const packing of ["document", "concat"] as const) {
  Deno.test(`readRunText() gives the texts of documents back, with packing ${packing}`, () =>
    inFolder(async (run) => {
      const graph = await textGraph(run, TEXTS, {
        packing,
        holdout: 0.3,
        experts: 1,
        blockBytes: 1_000,
      });
      const { configuration, blocks } = graph;
      await makeNodes(run, [
        tokenizerNode(),
        ...tokenizeNodes(graph),
        sequencesNode(graph),
        indexNode(graph),
      ]);
      const read = await Array.fromAsync(readRunText(run, configuration));
      assertEquals(read.map(({ text }) => text), TEXTS.map(({ text }) => text));
      assertEquals(blocks.length > 1, true);
      const rows = await Promise.all(blocks.map((block) =>
        Array.fromAsync(
          readDocumentRows(`${run}/${tokensNode(block)}/${DOCUMENTS}`, [
            "document",
            "side",
            "tokens",
          ]),
        )
      ));
      assertEquals(
        read.map(({ document, side }) => ({ document, side })),
        rows.flat().map(({ document, side }) => ({ document, side })),
      );
      const only = new Set([3, 20, 39].map((i) => read[i].document));
      assertEquals(
        await Array.fromAsync(readRunText(run, configuration, only)),
        read.filter(({ document }) => only.has(document)),
      );
      const counts: number[] = [];
      for await (const documents of readRunTokens(run, configuration)) {
        for (const { tokens } of documents) counts.push(tokens.length);
      }
      assertEquals(counts, rows.flat().map(({ tokens }) => tokens - 1), "none has its end");
    }));
}
