import { assert, assertEquals } from "@std/assert";
import { writeManifest } from "../../../pipeline/graph/mod.ts";
import { toTable } from "../../../pipeline/rows/arrow.ts";
import { defaultConfiguration } from "../../../pipeline/settings/configuration.ts";
import { PART_INDEX, unseenText } from "../../../pipeline/stages/documents.ts";
import { tableBytes } from "../../../pipeline/stages/duplicates.ts";
import { overlapNodes } from "../../../pipeline/stages/overlap.ts";
import { graphOf } from "../../../pipeline/stages/stage.ts";
import { documentColumns } from "../../../pipeline/stages/token_rows.ts";
import type { Block } from "../../../pipeline/text/blocks.ts";
import { inFolder } from "../../tasks/support.ts";
import { makeAlone, writeBatches } from "./alone.ts";

const DOCUMENTS = 50_000_000; // as many as the manifest of hashes tells

Deno.test("what documents have in common takes no memory for each of millions of training documents", () =>
  inFolder(async (folder) => {
    const configuration = defaultConfiguration();
    const block: Block = { name: "a", id: 0, bytes: 0, pieces: [] };
    const known = { key: "0", name: PART_INDEX, revision: 1, settings: {}, inputs: {}, result: {} };
    await Deno.mkdir(`${folder}/${PART_INDEX}`, { recursive: true });
    await writeManifest(`${folder}/${PART_INDEX}`, { ...known, files: {} });
    const sides = ["train", "test"] as const;
    const rows = sides.map((side, i) => ({
      document: BigInt(i),
      path: "text.txt",
      place: i,
      source: "",
      side,
      expert: "0",
    }));
    const names = ["document", "path", "place", "source", "side", "expert"] as const;
    const table = toTable(documentColumns(names, rows), { format: 1, stage: "split" });
    await writeBatches(`${folder}/${PART_INDEX}/documents.arrow`, [table]);
    const of = graphOf({
      run: folder,
      configuration,
      text: unseenText(configuration),
      blocks: [block],
    });
    const nodes = await overlapNodes(of, { against: [], named: [] });
    const hashes = nodes.find(({ name }) => name === "overlap/hashes/a")!;
    await Deno.mkdir(`${folder}/${hashes.name}`, { recursive: true });
    for (const kind of ["text", "bands", 13]) {
      for (const [i, side] of sides.entries()) {
        const own = [Int32Array.of(i, i), Int32Array.of(i, i)];
        own[1 - i] = new Int32Array();
        await Deno.writeFile(`${folder}/${hashes.name}/${kind}-${side}.u32`, tableBytes(own));
      }
    }
    const before = Deno.memoryUsage().external;
    let most = 0;
    const node = { ...nodes.at(-1)! };
    const { maker } = node;
    node.maker = {
      ...maker,
      make: ([making], work) =>
        maker.make([{
          ...making,
          write(file, data) {
            most = Math.max(most, Deno.memoryUsage().external);
            return making.write(file, data);
          },
        }], work),
    };
    const documents = { documents: DOCUMENTS };
    const result = await makeAlone(node, folder, { [hashes.name]: documents });
    assertEquals(result, { pairs: 0 });
    assert(most > 0 && most - before < DOCUMENTS, `${most - before} bytes`);
    const { all } = JSON.parse(await Deno.readTextFile(`${folder}/${node.name}/overlap.json`));
    assertEquals([all.documents, all.heldOut, all.runs, all.leaking], [1, 1, 1, 0]);
  }));
