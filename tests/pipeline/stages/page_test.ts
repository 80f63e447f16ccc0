import { assertEquals } from "@std/assert";
import { EVALUATION, type Node } from "../../../pipeline/graph/node.ts";
import { Walk } from "../../../pipeline/graph/walk.ts";
import { PAGE, pageNodes } from "../../../pipeline/stages/page.ts";
import { inFolder } from "../../tasks/support.ts";
import { handGraph, handNode, makeNodes } from "./support.ts";

const HTML = "<!doctype html><title>a run</title>";

/** An evaluation that measured a perplexity. */
const evaluationNode = (perplexity: number): Node => ({
  ...handNode(EVALUATION, async ({ write }) => {
    await write("evaluation.json", JSON.stringify({ perplexity }));
    return { perplexity };
  }),
  settings: { perplexity },
});

Deno.test("a page is written into its folder and the run, and is out of date after another evaluation", () =>
  inFolder(async (run) => {
    const graph = handGraph(run, [], {});
    const states = async (nodes: readonly Node[]) => {
      const walk = new Walk(run, nodes);
      const found = await Promise.all(nodes.map((node) => walk.of(node)));
      return Object.fromEntries(found.map(({ node, state }) => [node.name, state]));
    };
    assertEquals(await states(await pageNodes(graph, {})), { "report/page": "missing" });

    await makeNodes(run, [evaluationNode(30)]);
    await makeNodes(run, await pageNodes(graph, { html: HTML }));
    assertEquals(await Deno.readTextFile(`${run}/report/page/${PAGE}`), HTML);
    assertEquals(await Deno.readTextFile(`${run}/${PAGE}`), HTML);
    assertEquals(await states(await pageNodes(graph, {})), {
      [EVALUATION]: "made",
      "report/page": "made",
    });

    await Deno.remove(`${run}/${EVALUATION}`, { recursive: true });
    await makeNodes(run, [evaluationNode(20)]);
    assertEquals(await states(await pageNodes(graph, {})), {
      [EVALUATION]: "made",
      "report/page": "changed",
    });
    await makeNodes(run, await pageNodes(graph, { html: HTML }));
    assertEquals((await states(await pageNodes(graph, {})))["report/page"], "made");
  }));
