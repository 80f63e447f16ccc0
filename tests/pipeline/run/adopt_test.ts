import { assert, assertEquals, assertRejects } from "@std/assert";
import { InputError, wordText } from "../../../kernels/errors.ts";
import { loadCheckpoint, saveModelFolder } from "../../../pipeline/model/checkpoints/checkpoint.ts";
import { initialWeights } from "../../../pipeline/model/parameters.ts";
import { type ModelConfig, parameterCount } from "../../../pipeline/model/shape.ts";
import { adoptExpert } from "../../../pipeline/run/adopt.ts";
import { evaluateRun } from "../../../pipeline/run/evaluate_run.ts";
import { trainExpert } from "../../../pipeline/run/models.ts";
import { readStatus } from "../../../pipeline/run/status.ts";
import { readTrainings } from "../../../pipeline/run/trainings.ts";
import { verifyRun } from "../../../pipeline/run/verify.ts";
import type { RunEvent } from "../../../pipeline/graph/events.ts";
import {
  readRunConfiguration,
  writeRunConfiguration,
} from "../../../pipeline/graph/configuration.ts";
import { adoptedExperts } from "../../../pipeline/training/adoption.ts";
import { loadTokenizer } from "../../../pipeline/text/tokenizer.ts";
import { hashes } from "../../tasks/support.ts";
import { withPartition } from "./support.ts";

const flags = { expertHidden: 16, expertLayers: 1, expertHeads: 2, expertBatch: 4, expertSteps: 2 };
/**
 * Another size than the run's, an output head of its own, ids that no token has, a longer context.
 */
const FOREIGN: ModelConfig = {
  vocabulary: 320,
  hidden: 24,
  layers: 2,
  heads: 3,
  context: 64,
  untied: true,
};

/**
 * Writes a checkpoint as another trainer leaves it: no notes of ours, and the tokenizer written
 * anew.
 */
async function foreign(
  folder: string,
  run: string,
  config = FOREIGN,
  change = (json: string) => json,
) {
  const tokenizer = await loadTokenizer(`${run}/tokenizer.json`);
  await saveModelFolder(folder, config, initialWeights(config, 7), {
    notes: { eos: tokenizer.eos },
    tokenizer,
    dtype: "BF16",
  });
  const path = `${folder}/config.json`;
  const { smalltalk: _, ...fields } = JSON.parse(await Deno.readTextFile(path));
  await Deno.writeTextFile(path, JSON.stringify(fields));
  await Deno.writeTextFile(`${folder}/tokenizer.json`, change(rewritten(tokenizer.json)));
}

/** A tokenizer as another program writes the same one. */
function rewritten(json: string): string {
  const { model, ...rest } = JSON.parse(json);
  const merges = model.merges.map((merge: string | string[]) =>
    typeof merge === "string" ? merge.split(" ") : merge.join(" ")
  );
  const padding = { strategy: "BatchLongest", direction: "Right", pad_to_multiple_of: null };
  const pad = { ...padding, pad_id: 0, pad_type_id: 0, pad_token: "<|endoftext|>" };
  return JSON.stringify({ ...rest, padding: pad, model: { ...model, merges } }, null, 1);
}

Deno.test("adoptExpert() makes another trainer's checkpoint an expert, of its own size, that all else takes", () =>
  withPartition(async (run) => {
    const from = `${run}/../elsewhere`;
    await trainExpert(0, { run, sources: { flags } });
    await foreign(from, run);
    const before = await hashes(from);
    const adopted = await adoptExpert({ run, expert: 1, from });
    assertEquals([adopted.state, adopted.parameters], ["done", parameterCount(FOREIGN)]);
    assertEquals((await adoptExpert({ run, expert: 1, from })).state, "up to date");
    assertEquals(await hashes(from), before);
    const { config, weights, notes, dtype } = await loadCheckpoint(`${run}/experts/expert-01`);
    assertEquals([config, weights, dtype], [FOREIGN, (await loadCheckpoint(from)).weights, "BF16"]);
    assertEquals(notes.adopted, from);
    const status = (await readStatus(run)).stages.find(({ stage }) => stage === "train-expert-01")!;
    assertEquals([status.state, status.because], ["up to date", `adopted from "${from}"`]);
    assertEquals((await verifyRun(run)).problems, []);
    const [, training] = await readTrainings(run);
    assertEquals([training.state, training.from, training.steps], ["adopted", from, null]);

    const warnings: string[] = [];
    const onEvent = (event: RunEvent) =>
      event.type === "warning" && warnings.push(wordText(event.message));
    const { models } = await evaluateRun({ run, resamples: 2 }, { onEvent });
    const reported = models.adopted!.map(({ expert, parameters }) => [expert, parameters]);
    assertEquals(reported, [[1, parameterCount(FOREIGN)]]);
    assertEquals(models.config.hidden, 16);
    assert(warnings.some((text) => text.includes(`expert 1 from "${from}"`)), warnings.join());
    assertEquals((await adoptedExperts(run)).map(({ expert, from }) => [expert, from]), [[
      1,
      from,
    ]]);
    await writeRunConfiguration(run, {
      ...(await readRunConfiguration(run))!.configuration,
      experts: 1,
    });
    assertEquals(await adoptedExperts(run), []); // there were two once
  }));

Deno.test("training an adopted expert takes force; so does adopting over a trained one", () =>
  withPartition(async (run) => {
    const from = `${run}/../elsewhere`;
    await foreign(from, run);
    await trainExpert(1, { run, sources: { flags } });
    await assertRejects(
      () => adoptExpert({ run, expert: 1, from }),
      InputError,
      "must not be trained",
    );
    await adoptExpert({ run, expert: 1, from, force: true });
    const adopted = await hashes(`${run}/experts`);
    assert(!("expert-01/metrics.jsonl" in adopted));
    for (const more of [{}, { resume: true }]) {
      const train = () => trainExpert(1, { run, ...more });
      await assertRejects(train, InputError, `it was adopted from "${from}"`);
    }
    assertEquals(await hashes(`${run}/experts`), adopted);
    const { steps } = await trainExpert(1, {
      run,
      force: true,
      sources: { flags: { expertSteps: 3 } },
    });
    assertEquals(steps, 3);
  }));

Deno.test("adoptExpert() refuses other tokenizers, sizes that cannot read the run, other parts and damage, and leaves no trace", () =>
  withPartition(async (run) => {
    const from = `${run}/../elsewhere`;
    const before = await hashes(run);
    const refuse = async (text: string, options = { run, expert: 1, from }) => {
      await assertRejects(() => adoptExpert(options), InputError, text);
      assertEquals(await hashes(run), before);
    };
    await refuse("config.json");
    await foreign(from, run, { ...FOREIGN, vocabulary: 200 });
    await refuse("its vocabulary must hold the 300 ids of the run's tokenizer: it holds 200");
    const tokenizer = await loadTokenizer(`${run}/tokenizer.json`);
    const routed = { ...FOREIGN, switch: { experts: 3, capacity: 1.25, balance: 0.01 } };
    const notes = { eos: tokenizer.eos };
    await saveModelFolder(from, routed, initialWeights(routed, 7), {
      notes,
      tokenizer,
      dtype: "F32",
    });
    await refuse("one model must answer: in its layers it has 3 experts");
    await foreign(from, run, { ...FOREIGN, context: 31 });
    await refuse("its context must be at least the run's sequence length, 32: it is 31");
    const changes = [
      ({ model: { vocab } }) => [vocab.a, vocab.b] = [vocab.b, vocab.a],
      ({ model: { merges } }) => merges.pop(),
      (tokenizer) => tokenizer.normalizer = { type: "Lowercase" },
      // deno-lint-ignore no-explicit-any
    ] satisfies ((tokenizer: any) => void)[];
    for (const change of changes) {
      await foreign(from, run, FOREIGN, (json) => {
        const tokenizer = JSON.parse(json);
        change(tokenizer);
        return JSON.stringify(tokenizer);
      });
      await refuse("its tokenizer must be that of the run");
    }
    await foreign(from, run);
    const path = `${from}/config.json`;
    const fields = JSON.parse(await Deno.readTextFile(path));
    await Deno.writeTextFile(
      path,
      JSON.stringify({ ...fields, smalltalk: { partition: "ab".repeat(32) } }),
    );
    await refuse("must have been trained on the part of expert 1");
    await foreign(from, run);
    const model = await Deno.readFile(`${from}/model.safetensors`);
    await Deno.writeFile(`${from}/model.safetensors`, model.fill(0xff, model.length - 2));
    await refuse("its weights must be numbers");
    await foreign(from, run);
    await refuse("must be one of 0 to 1", { run, expert: 2, from });
    await adoptExpert({ run, expert: 1, from });
    await Deno.symlink(`${run}/experts/expert-01`, `${run}/../link`);
    const own = { run, expert: 1, from: `${run}/../link`, force: true };
    await assertRejects(() => adoptExpert(own), InputError, "own folder");
  }));
