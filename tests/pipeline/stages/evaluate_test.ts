import { assert, assertEquals, assertRejects } from "@std/assert";
import { makeAll } from "../../../pipeline/graph/mod.ts";
import { readEvaluation } from "../../../pipeline/evaluation/evaluation.ts";
import { evaluateNodes } from "../../../pipeline/stages/evaluate.ts";
import { partitionGraph } from "../../../pipeline/stages/plan.ts";
import { denseTarget, expertTarget } from "../../../pipeline/stages/targets.ts";
import { trainNodes } from "../../../pipeline/stages/train.ts";
import { closeGpu, makeSmall, smallSettings, smallWork, writeTexts } from "./support.ts";

Deno.test("a run is partitioned, trained and evaluated on the graph, each model scored once", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await writeTexts(`${folder}/text`);
    const run = `${folder}/run`;
    const configuration = smallSettings(`${folder}/text`, {
      ...{ expertHidden: 8, expertLayers: 1, expertHeads: 2, expertBatch: 4, expertSteps: 8 },
      ...{ holdout: 0.3, blockBytes: 6_000 },
    });
    await makeSmall(run, configuration);
    const { nodes } = await partitionGraph(run, configuration);
    const tokens = nodes.filter(({ name }) => name.startsWith("tokens/")).map(({ name }) => name);
    const models = [expertTarget(0, { experts: 2 }), expertTarget(1, { experts: 2 }), denseTarget("batch")];
    const training = [...nodes, ...await trainNodes(configuration, models, tokens)];
    await makeAll(smallWork(run), training, { task: "test" });
    const evaluated = async (choices = {}) => {
      const graph = await evaluateNodes({ configuration, tokens, models }, choices);
      const made: string[] = [];
      const lock = (_: string, node: string) => {
        made.push(node);
        return Promise.resolve({ release: () => {} });
      };
      await makeAll(smallWork(run), graph, { task: "test", lock });
      return made;
    };
    const scores = ["evaluation/expert-00", "evaluation/expert-01", "evaluation/dense"];
    assertEquals(await evaluated(), [...scores, "evaluation/result"]);
    const evaluation = await readEvaluation(`${run}/evaluation.json`);
    assert(evaluation.sequences > 0 && evaluation.documents > 0);
    assertEquals(await evaluated(), []);
    assertEquals(await evaluated({ resamples: 50 }), ["evaluation/result"]);
    await Deno.remove(`${run}/experts/expert-01`, { recursive: true });
    await assertRejects(() => evaluated(), Error, "experts/expert-01");
    await closeGpu();
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
