import { assert, assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { readCost } from "../../../pipeline/cost/mod.ts";
import { report } from "../../../pipeline/report/mod.ts";
import { generate } from "../../../pipeline/serving/mod.ts";
import { makePartition, trainExpert } from "../../../pipeline/run/mod.ts";
import { needConfiguration, partitionRemedy, partsAlone } from "../../../pipeline/stages/mod.ts";
import { worded } from "../../../tasks/cli/wording.ts";
import { copyFolder, inFolder } from "../../tasks/support.ts";
import { smallSettings, writeTexts } from "./support.ts";

Deno.test("a folder that holds the part of an expert alone trains it to the same bytes, writes with it, and is reported from a run", () =>
  inFolder(async (folder) => {
    const [run, alone] = [`${folder}/run`, `${folder}/alone`];
    await writeTexts(`${folder}/text`, 6);
    const model = {
      expertHidden: 8,
      expertLayers: 1,
      expertHeads: 2,
      expertBatch: 4,
      expertSteps: 2,
    };
    const flags = smallSettings(`${folder}/text`, {
      partitioner: "random",
      method: "argmax",
      experts: 3,
      ...model,
    });
    assertEquals(
      worded(await partitionRemedy(alone)),
      `run deno task partition --run ${alone} first`,
    );
    await makePartition({ run, sources: { flags } });
    copyFolder(`${run}/partition/expert-02`, `${alone}/partition/expert-02`);
    assertEquals([await partsAlone(run), await partsAlone(alone)], [[], [2]]);
    const error = await assertRejects(
      () => needConfiguration(alone),
      InputError,
      "there is no config.json",
    );
    assertEquals(
      worded(error.remedy!),
      "this folder holds the part of expert 2 alone: copy config.json and tokenizer from the run as well",
    );
    await Deno.copyFile(`${run}/config.json`, `${alone}/config.json`);
    copyFolder(`${run}/tokenizer`, `${alone}/tokenizer`);
    assertEquals(
      worded(await partitionRemedy(alone)),
      "this folder holds the part of expert 2 alone: name the whole run that it was copied from",
    );
    await Deno.remove(`${folder}/text`, { recursive: true });
    for (const place of [run, alone]) await trainExpert(2, { run: place });
    const weights = [run, alone].map((place) =>
      Deno.readFile(`${place}/experts/expert-02/model.safetensors`)
    );
    const [whole, apart] = await Promise.all(weights);
    assertEquals(whole, apart);
    const text = await generate({ run: alone, expert: 2, prompt: "a judge", maxNewTokens: 2 });
    assert((await Array.fromAsync(text)).length > 0);
    assertEquals(
      (await readCost({ run: alone, flops: 1e12, utilisation: 0.4 })).mixture.experts,
      3,
    );
    await report({ run: alone });
    assert((await Deno.readTextFile(`${alone}/report.html`)).includes("What ran"));
  }));
