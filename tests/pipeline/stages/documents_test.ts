import { assertEquals } from "@std/assert";
import { toTable } from "../../../pipeline/rows/arrow.ts";
import {
  indexNode,
  PART_COLUMNS,
  PART_INDEX,
  partIndexNode,
} from "../../../pipeline/stages/documents.ts";
import {
  assignmentNode,
  readDocumentRows,
  tokensNode,
  writeRows,
} from "../../../pipeline/stages/token_rows.ts";
import { sequencesNode, tokenizeNodes } from "../../../pipeline/stages/tokenize.ts";
import { inFolder } from "../../tasks/support.ts";
import { handNode, LINEAGE, makeNodes, readColumns, textGraph, tokenizerNode } from "./support.ts";

const TEXTS = Array.from({ length: 6 }, (_, i) => ({
  text: `${i} `.repeat(12),
  source: "digits",
}));

Deno.test("the index tells for every document its file, its place, and where its sequences went", () =>
  inFolder(async (run) => {
    const of = await textGraph(run, TEXTS, { experts: 3, holdout: 0.3, packing: "document" });
    const tokens = [tokenizerNode(), ...tokenizeNodes(of), sequencesNode(of), indexNode(of)];
    await makeNodes(run, tokens);
    const [block] = of.blocks;
    /** Sends a sequence where its number says, and counts it for its document. */
    const counts = new Map<bigint, number[]>();
    const assignments = handNode(assignmentNode(), async (making) => {
      for (const side of ["train", "test"] as const) {
        const batches = await readColumns(`${run}/${tokensNode(block)}/${side}.arrow`);
        const documents = batches.flatMap(({ document }) => [...document!]);
        const expert = Uint16Array.from(documents, (_, row) => row % 5 % 3);
        documents.forEach((id, row) => {
          const own = counts.getOrInsertComputed(id, () => [0, 0, 0]);
          own[expert[row]]++;
        });
        const zeros = new Float32Array(expert.length);
        const columns = {
          sequence: BigUint64Array.from(expert, (_, row) => BigInt(row)),
          expert,
          best: expert,
          cost: zeros,
          lowest: zeros,
        };
        await writeRows(making, `${block.name}-${side}.arrow`, [
          toTable(columns, { ...LINEAGE, stage: "assign" }),
        ]);
      }
      return {};
    });
    await makeNodes(run, [...tokens, assignments, partIndexNode(of)]);
    const rows = await Array.fromAsync(
      readDocumentRows(`${run}/${PART_INDEX}/documents.arrow`, PART_COLUMNS),
    );
    assertEquals(rows.map(({ place }) => place), [1, 2, 3, 4, 5, 6]);
    for (const { document, path, expert, shares } of rows) {
      assertEquals(path, `${run}/docs.jsonl`);
      const own = counts.get(document) ?? [0, 0, 0];
      const some = own.map((count, e) => [e, count]).filter(([, count]) => count > 0)
        .sort(([a, x], [b, y]) => y - x || a - b);
      if (some.length < 2) assertEquals(expert, String(some[0]?.[0] ?? ""));
      else {
        const all = own.reduce((a, b) => a + b);
        assertEquals(expert, "mixed");
        assertEquals(shares, some.map(([e, n]) => `${e}: ${(n / all).toFixed(3)}`).join(", "));
      }
    }
  }));
