import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { InputError, wordText } from "../../../kernels/errors.ts";
import { loadCheckpoint } from "../../../pipeline/checkpoints/checkpoint.ts";
import { saveModelFolder } from "../../../pipeline/checkpoints/model_folder.ts";
import { readCost } from "../../../pipeline/cost/cost.ts";
import { initialWeights } from "../../../pipeline/model/parameters.ts";
import { type ModelConfig, parameterCount } from "../../../pipeline/model/shape.ts";
import { readRun } from "../../../pipeline/report/read.ts";
import type { RunEvent } from "../../../pipeline/run/events.ts";
import { generate } from "../../../pipeline/serving/generate.ts";
import { adoptExpert } from "../../../pipeline/stages/adopt.ts";
import { evaluateModels, evaluateRun } from "../../../pipeline/stages/evaluate_run.ts";
import { statusOf } from "../../../pipeline/stages/status.ts";
import { trainDense, trainExpert } from "../../../pipeline/stages/train.ts";
import { reproduce } from "../../../pipeline/reproduction/reproduce.ts";
import { verifyRun } from "../../../pipeline/stages/verify.ts";
import { loadTokenizer } from "../../../pipeline/text/tokenizer.ts";
import { sameTokenizer } from "../../../pipeline/text/tokenizer.ts";
import { sequenceNll } from "../model/reference.ts";
import { gpu } from "../../kernels/support.ts";
import { hashes } from "../../tasks/support.ts";
import { withPartition } from "./support.ts";

const TRAINING = { expertHidden: 16, expertLayers: 1, expertHeads: 2, expertBatch: 4, expertSteps: 2 };
/** Another size than the run's, an output head of its own, ids that no token has, a longer context. */
const FOREIGN: ModelConfig = {
  vocabulary: 320,
  hidden: 24,
  layers: 2,
  heads: 3,
  context: 64,
  untied: true,
};

/** Writes a checkpoint as another trainer leaves it: no notes of ours, and the tokenizer written anew. */
async function foreign(folder: string, run: string, config = FOREIGN, change = (json: string) => json) {
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
    const [flags, from] = [TRAINING, `${run}/../elsewhere`];
    await trainExpert(0, { run, sources: { flags }, gpu });
    await trainDense("batch", { run, gpu });
    await foreign(from, run);
    const before = await hashes(from);
    const adopted = await adoptExpert({ run, expert: 1, from });
    assertEquals([adopted.state, adopted.parameters], ["done", parameterCount(FOREIGN)]);
    assertEquals((await adoptExpert({ run, expert: 1, from })).state, "up to date");
    assertEquals(await hashes(from), before);
    const { config, weights, notes, dtype } = await loadCheckpoint(`${run}/experts/expert-01`);
    assertEquals([config, weights, dtype], [FOREIGN, (await loadCheckpoint(from)).weights, "BF16"]);
    assertEquals(notes.adopted, from);

    const status = (await statusOf(run)).stages.find(({ stage }) => stage === "train-expert-01")!;
    assertEquals([status.state, status.because], ["up to date", `adopted from "${from}"`]);
    assertEquals((await verifyRun(run)).problems, []);

    const told: RunEvent[] = [];
    const onEvent = (event: RunEvent) => told.push(event);
    const evaluation = await evaluateRun({ run, gpu, resamples: 2 }, { onEvent });
    assertEquals(evaluation.models.adopted!.map(({ expert, parameters }) => [expert, parameters]), [
      [1, parameterCount(FOREIGN)],
    ]);
    assertEquals(evaluation.models.config.hidden, 16);
    const warnings = told.flatMap((event) => event.type === "warning" ? [wordText(event.message)] : []);
    assert(warnings.some((text) => text.includes(`expert 1 from "${from}"`)), warnings.join());

    for (const index of [1, 2]) await evaluateModels({ index, of: 2 }, { run, gpu });
    assertEquals(await evaluateRun({ run, gpu, resamples: 2 }), evaluation);

    const text = await generate({
      run,
      prompt: "sail wave",
      expert: 1,
      maxNewTokens: 4,
      temperature: 0,
      gpu,
    });
    for await (const _ of text);
    const expected: number[] = [];
    const { vocabulary, eos } = await loadTokenizer(`${run}/tokenizer.json`);
    for (let i = 0; i < text.tokens.length; i++) { // the likeliest token, by an independent f64 model
      const tokens = [...text.promptTokens, ...expected];
      const costs = Array.from(
        { length: vocabulary },
        (_, id) => sequenceNll(FOREIGN, weights, [...tokens, id]),
      );
      expected.push(costs.indexOf(Math.min(...costs)));
    }
    assertEquals(text.tokens, expected.filter((id) => id !== eos));

    const cost = await readCost({ run, flops: 1e12, utilisation: 0.5 });
    assertEquals(cost.adopted!.map(({ expert, shape }) => [expert, shape.hidden]), [[1, 24]]);
    const { router, expert, total } = cost.parameters;
    assertEquals(total, 2 * router + expert + parameterCount(FOREIGN));
    assertEquals((await readRun(run)).adopted.map(({ from }) => from), [from]);
  }));

Deno.test("training an adopted expert takes force; so does adopting over a trained one", () =>
  withPartition(async (run) => {
    const [flags, from] = [TRAINING, `${run}/../elsewhere`];
    await foreign(from, run);
    await trainExpert(1, { run, sources: { flags }, gpu });
    const error = await assertRejects(() => adoptExpert({ run, expert: 1, from }), InputError);
    assertStringIncludes(error.message, "must not be trained");
    await adoptExpert({ run, expert: 1, from, force: true });
    await assertRejects(() => Deno.stat(`${run}/metrics/expert-01.jsonl`), Deno.errors.NotFound);
    const adopted = await hashes(`${run}/experts`);
    for (const more of [{}, { resume: true }]) {
      const refused = await assertRejects(() => trainExpert(1, { run, gpu, ...more }), InputError);
      assertStringIncludes(refused.message, `it was adopted from "${from}"`);
    }
    assertEquals(await hashes(`${run}/experts`), adopted);
    const whole = await hashes(run);
    const late = await assertRejects(() => reproduce({ run, sources: { flags } }), InputError);
    assertStringIncludes(late.message, `expert 1 was adopted from "${from}"`);
    assertEquals(await hashes(run), whole); // before anything runs

    const model = `${run}/experts/expert-01/model.safetensors`;
    const bytes = await Deno.readFile(model);
    bytes[bytes.length - 1] ^= 1;
    await Deno.truncate(model, bytes.length - 1);
    const state = (await statusOf(run)).stages.find(({ stage }) => stage === "train-expert-01")!;
    assertEquals([state.state, state.command.task, state.command.with.from], ["damaged", "adopt", from]);
    await Deno.writeFile(model, bytes);
    const { problems: [{ file, remedy }] } = await verifyRun(run);
    assertEquals(file, "experts/expert-01/model.safetensors");
    assertStringIncludes(wordText(remedy), 'task "adopt"');
    assertStringIncludes(wordText(remedy), from);
    await adoptExpert({ run, expert: 1, from, force: true });
    assertEquals(await hashes(`${run}/experts`), adopted);

    const { steps } = await trainExpert(1, { run, gpu, force: true, sources: { flags: { expertSteps: 3 } } });
    assertEquals(steps, 3);
    const { stages } = await statusOf(run);
    assertEquals(stages.find(({ stage }) => stage === "train-expert-01")!.because, undefined);
    assertEquals((await readCost({ run, flops: 1e12, utilisation: 0.5 })).adopted, undefined);
  }));

Deno.test("adoptExpert() follows no link, and takes nothing from the expert behind it", () =>
  withPartition(async (run) => {
    const from = `${run}/../elsewhere`;
    await foreign(from, run);
    await adoptExpert({ run, expert: 1, from });
    await foreign(from, run, { ...FOREIGN, layers: 1 });
    for (const link of ["experts", "experts/expert-01"]) {
      await Deno.rename(`${run}/${link}`, `${run}/../moved`);
      await Deno.symlink(await Deno.realPath(`${run}/../moved`), `${run}/${link}`);
      const state = async () => [await hashes(`${run}/../moved`), await hashes(`${run}/manifests`)];
      const before = await state();
      const error = await assertRejects(
        () => adoptExpert({ run, expert: 1, from, force: true }),
        InputError,
        "is a symbolic link",
      );
      assertEquals(error.where, `${run}/${link}`);
      assertEquals(await state(), before);
      await Deno.remove(`${run}/${link}`);
      await Deno.rename(`${run}/../moved`, `${run}/${link}`);
    }
  }));

Deno.test("adoptExpert() refuses other tokenizers, sizes that cannot read the run, other parts and damage, and leaves no trace", () =>
  withPartition(async (run) => {
    const from = `${run}/../elsewhere`;
    const before = await hashes(run);
    const refuse = async (text: string, options = { run, expert: 1, from }) => {
      const error = await assertRejects(() => adoptExpert(options), InputError);
      assertStringIncludes(error.message, text);
      assertEquals(await hashes(run), before);
    };
    await refuse("config.json");
    await foreign(from, run, { ...FOREIGN, vocabulary: 200 });
    await refuse("its vocabulary must hold the 300 ids of the run's tokenizer: it holds 200");
    const tokenizer = await loadTokenizer(`${run}/tokenizer.json`);
    const routed = { ...FOREIGN, switch: { experts: 3, capacity: 1.25, balance: 0.01 } };
    const notes = { eos: tokenizer.eos };
    await saveModelFolder(from, routed, initialWeights(routed, 7), { notes, tokenizer, dtype: "F32" });
    await refuse("one model must answer: in its layers it has 3 experts");
    await foreign(from, run, { ...FOREIGN, context: 31 });
    await refuse("its context must be at least the run's sequence length, 32: it is 31");
    await foreign(from, run, FOREIGN, (json) => {
      const tokenizer = JSON.parse(json);
      [tokenizer.model.vocab["a"], tokenizer.model.vocab["b"]] = [
        tokenizer.model.vocab["b"],
        tokenizer.model.vocab["a"],
      ];
      return JSON.stringify(tokenizer);
    });
    await refuse("its tokenizer must be that of the run");
    await foreign(from, run);
    await Deno.remove(`${from}/tokenizer.json`);
    await refuse("it holds no tokenizer.json");
    await foreign(from, run);
    const path = `${from}/config.json`;
    const fields = JSON.parse(await Deno.readTextFile(path));
    await Deno.writeTextFile(path, JSON.stringify({ ...fields, smalltalk: { partition: "ab".repeat(32) } }));
    await refuse("must have been trained on the part of expert 1");
    await foreign(from, run);
    const model = await Deno.readFile(`${from}/model.safetensors`);
    await Deno.writeFile(`${from}/model.safetensors`, model.fill(0xff, model.length - 2));
    await refuse("its weights must be numbers");
    await foreign(from, run);
    await refuse("must be one of 0 to 1", { run, expert: 2, from });
    await adoptExpert({ run, expert: 1, from });
    const own = { run, expert: 1, from: `${run}/experts/expert-01` };
    await assertRejects(() => adoptExpert(own), InputError, "own folder");
  }));

Deno.test("sameTokenizer() looks at what makes ids, not at how it is written", async () => {
  await withPartition(async (run) => {
    const json = await Deno.readTextFile(`${run}/tokenizer.json`);
    assert(sameTokenizer(json, json) && sameTokenizer(json, rewritten(json)));
    const { model, ...rest } = JSON.parse(json);
    assert(
      !sameTokenizer(json, JSON.stringify({ ...rest, model: { ...model, merges: model.merges.slice(1) } })),
    );
    assert(!sameTokenizer(json, JSON.stringify({ ...rest, model, normalizer: { type: "Lowercase" } })));
  });
});
