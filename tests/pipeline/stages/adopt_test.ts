import { assertEquals } from "@std/assert";
import { hashFiles, partNode } from "../../../pipeline/graph/node.ts";
import { loadCheckpoint } from "../../../pipeline/model/checkpoints/checkpoint.ts";
import { parameterCount } from "../../../pipeline/model/shape.ts";
import { adoptNodes, adoptRequests } from "../../../pipeline/stages/adopt.ts";
import { inFolder } from "../../tasks/support.ts";
import { anyWeights } from "../model/support.ts";
import { byteTokenizer, EXPERT } from "../serving/support.ts";
import { handGraph, handNode, makeNodes, tokenizerNode } from "./support.ts";

Deno.test("an adopted expert has the checkpoint's weights and the run's tokenizer, and is found again", () =>
  inFolder(async (run) => {
    const graph = handGraph(run, [], { experts: 2 });
    const tokenizer = await byteTokenizer();
    const weights = anyWeights(EXPERT, "from elsewhere");
    const adopted = {
      from: "elsewhere/model",
      sha256: "ab12",
      shape: { ...EXPERT },
      parameters: parameterCount(EXPERT),
    };
    const part = handNode(partNode(1, 2), async ({ write }) => {
      await write("train.txt", "rows");
      return {};
    });
    const partManifest = await (await makeNodes(run, [tokenizerNode(), part]))(part.name);
    assertEquals(await adoptRequests(graph), []);

    const checkpoint = { config: EXPERT, weights, notes: {}, sha256: "ab12", tokenizer, adopted };
    const nodes = adoptNodes(graph, { expert: 1, checkpoint });
    const manifest = await (await makeNodes(run, nodes))("experts/expert-01");
    assertEquals(manifest.result.adopted, adopted);
    assertEquals(await adoptRequests(graph), [{ expert: 1 }]);

    const read = await loadCheckpoint(`${run}/experts/expert-01`);
    assertEquals(read.notes, {
      tokenizer: tokenizer.sha256,
      eos: tokenizer.eos,
      partition: hashFiles(partManifest),
      adopted: adopted.from,
    });
    assertEquals(read.weights.size, weights.size);
    for (const [name, tensor] of weights) assertEquals(read.weights.get(name), tensor);
    assertEquals(
      await Deno.readTextFile(`${run}/experts/expert-01/tokenizer.json`),
      tokenizer.json,
    );
  }));
