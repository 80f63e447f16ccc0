import { assertEquals, assertMatch } from "@std/assert";
import { saveCheckpoint } from "../../../pipeline/checkpoints/checkpoint.ts";
import { equalCompute } from "../../../pipeline/cost/beside_mixture.ts";
import { Vouched } from "../../../pipeline/run/vouched.ts";
import type { Manifest } from "../../../pipeline/run/manifest.ts";
import type { Configuration } from "../../../pipeline/settings/configuration.ts";
import { resolveConfiguration } from "../../../pipeline/settings/resolution.ts";
import { unequal } from "../../../pipeline/stages/evaluate_checks.ts";
import type { Work } from "../../../pipeline/stages/stage.ts";
import { baselineModels, expertModel } from "../../../pipeline/stages/trained_models.ts";
import { inFolder } from "../../tasks/support.ts";
import { anyWeights } from "../model/support.ts";

const FLAGS = { experts: 3, vocabularySize: 300, expertHidden: 8, expertHeads: 2, expertSteps: 50 };
const TEXT = { train: 2000, test: 100 };
const EXPERTS = [0, 1, 2].map(expertModel);

function manifestOf(stage: string, result: object, configuration: object = {}): Manifest {
  return {
    format: 1,
    stage,
    revision: 1,
    key: "",
    inputs: {},
    outputs: {},
    configuration,
    result,
  } as Manifest;
}

/** What a manifest tells of a training. */
function trainedOf(
  name: string,
  told: { steps: number; batch: number; tokens: number },
  more = {},
): Manifest {
  const rest = { folder: name, loss: 1, validationLoss: 1, rate: 0.003, resumed: [] };
  return manifestOf(`train-${name}`, { ...rest, ...told, ...more }, { ...told, rate: 0.003 });
}

/** Lists what is uneven among some experts and baselines, as manifests tell. */
async function told(
  manifests: Manifest[],
  { experts = EXPERTS, names = ["dense"], flags = {}, run = "" }: {
    experts?: typeof EXPERTS;
    names?: string[];
    flags?: Partial<Configuration>;
    run?: string;
  } = {},
): Promise<string[]> {
  const work = {
    run,
    configuration: resolveConfiguration({ flags: { ...FLAGS, ...flags } }),
    files: new Vouched(),
    known: (name: string) => Promise.resolve(manifests.find(({ stage }) => stage === name) ?? null),
  } as unknown as Work;
  const tokenize = manifestOf("tokenize", {
    ...{ documents: 9, tokens: 9, droppedTails: 0, vocabulary: 300, eos: 0, tokenizer: "" },
    ...{ trainSequences: TEXT.train, testSequences: TEXT.test },
  });
  const baselines = baselineModels().filter(({ name }) => names.includes(name));
  return await unequal(work, experts, baselines, tokenize);
}

const like = { steps: 50, batch: 16, tokens: 1000 };
const experts = EXPERTS.map(({ name }) => trainedOf(name, like));

Deno.test("unequal() compares the experts of which manifests tell, and names those of which none does", async () => {
  assertEquals(await told(experts), []);
  const uneven = [experts[0], trainedOf("expert-02", { ...like, steps: 60 })];
  assertEquals(await told(uneven), [
    "no manifest tells of the training of expert 1: what that cost, and on which tokens, is not known here",
    "experts were trained with different steps: 50, 60",
  ]);
});

Deno.test("unequal() compares the tokens of a dense model with those of all experts, not with those of some", async () => {
  const all = [...experts, trainedOf("dense", { ...like, tokens: 3000 })];
  assertEquals(await told(all), []);
  assertEquals(await told(all, { experts: EXPERTS.slice(0, 1) }), []);
  const [less] = await told([...experts, trainedOf("dense", { ...like, tokens: 2000 })]);
  assertEquals(
    less,
    "dense was trained on 2000 tokens, the experts together on 3000: their costs are not equal",
  );
});

Deno.test("unequal() judges equal compute by the mixture of now, not by that of the model's training", () =>
  inFolder(async (run) => {
    const { model, batch, steps } = equalCompute(resolveConfiguration({ flags: FLAGS }), TEXT);
    await saveCheckpoint(`${run}/dense-compute`, model, anyWeights(model, 0));
    const memory = { training: 1, expertTraining: 1, inference: 1, expertInference: 1 };
    const flops = { training: 1e9, mixture: 1e9, inference: 1, expertInference: 1 };
    const cost = { parameters: 1, ...flops, memory };
    const names = ["dense-compute"];
    const made = (
      cost: object,
    ) => [...experts, trainedOf("dense-compute", { ...like, batch, steps }, { cost })];
    assertEquals(await told(made({ ...cost, training: 9e9 }), { run, names }), []);
    const [apart] = await told(made(cost), { run, names, flags: { expertSteps: 100 } });
    assertMatch(
      apart,
      /^the training of dense-compute takes \S+ FLOPs, that of the mixture \S+: .* 1% apart$/,
    );
  }));
