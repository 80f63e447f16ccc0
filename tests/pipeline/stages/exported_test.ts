import { assertEquals } from "@std/assert";
import { Walk } from "../../../pipeline/graph/walk.ts";
import {
  exportNodes,
  type ExportRequest,
  exportRequests,
} from "../../../pipeline/stages/exported.ts";
import { inFolder } from "../../tasks/support.ts";
import { handGraph, makeNodes } from "./support.ts";

/** An export of numbers in a file, a number a line. */
const numbersExport = (numbers: readonly number[]): ExportRequest => ({
  name: "export/numbers",
  recipe: {
    settings: { numbers },
    write: async ({ write }) => {
      await write("part/numbers.txt", numbers.join("\n"));
      return { count: numbers.length };
    },
  },
});

Deno.test("an export is whole in its folder, is listed from then on, and changes with what it is made of", () =>
  inFolder(async (run) => {
    const graph = handGraph(run, [], {});
    assertEquals(await exportRequests(graph), []);

    const nodes = exportNodes(graph, numbersExport([3, 5]));
    const manifest = await (await makeNodes(run, nodes))("export/numbers");
    assertEquals(await Deno.readTextFile(`${run}/export/numbers/part/numbers.txt`), "3\n5");
    assertEquals([Object.keys(manifest.files), manifest.result], [
      ["part/numbers.txt"],
      { count: 2 },
    ]);

    const requests = await exportRequests(graph);
    assertEquals(requests, [{ name: "export/numbers" }]);
    const stateOf = async (request: ExportRequest) => {
      const [node] = exportNodes(graph, request);
      return (await new Walk(run, [node]).of(node)).state;
    };
    assertEquals(await stateOf(requests[0]), "made");
    assertEquals(await stateOf(numbersExport([3, 5])), "made");
    assertEquals(await stateOf(numbersExport([3, 6])), "changed");
  }));
