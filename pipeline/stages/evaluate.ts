/**
 * The stage `evaluate` scores held-out sequences with the mixture of a run, beside the dense models that are trained there, and
 * keeps the result as `evaluation.json`.
 *
 * @module
 */

import { InputError, say, setting, task, type Text } from "../../kernels/errors.ts";
import { loadCheckpointConfig } from "../checkpoints/checkpoint.ts";
import {
  evaluate,
  type EvaluateOptions,
  type ModelScores,
  RESAMPLES,
  scoreModel,
} from "../evaluation/evaluate.ts";
import { checkFallback } from "../evaluation/fallback.ts";
import { mixesOf } from "../evaluation/mix.ts";
import {
  type Baseline,
  BASELINE_NOTES,
  BASELINES,
  hasOwnShape,
  isBaseline,
} from "../evaluation/baselines.ts";
import { EVALUATION_FORMAT } from "../evaluation/evaluation.ts";
import type { TrainingCost } from "../cost/cost.ts";
import type { ModelConfig } from "../model/shape.ts";
import { expertFolder, partHash, readPart, readPartition } from "../partition/manifests.ts";
import {
  identifyPartitioner,
  partitionerFolder,
  partitionerKind,
  PARTITIONERS,
} from "../partition/partitioners.ts";
import { readShards } from "../rows/arrow.ts";
import { adoptionOf } from "../run/adoption.ts";
import { exists, hashFile, jsonText, removeFiles, sha256, shortHash, writeAtomic } from "../run/files.ts";
import { type Manifest, outputsHash, outputsUnder, stageKey } from "../run/manifest.ts";
import type { Configuration } from "../settings/configuration.ts";
import { openMixture } from "../serving/mixture.ts";
import { checkShape, checkTokenizer, type ModelName } from "../serving/models.ts";
import { baselineTargets } from "./baselines.ts";
import { commandOf } from "./command.ts";
import { noteOf, type Part, writeNote } from "./notes.ts";
import type { ManifestReader, RunContext, Stage, StageKind, Work } from "./stage.ts";
import { tokenizeResult } from "./tokenize.ts";
import { costApart } from "./train_model.ts";
import { expertTarget } from "./train_expert.ts";

/** The stage's file, by its path in the run folder. */
export const EVALUATION = "evaluation.json";
const ABOUT =
  "Evaluates the mixture of a run on its held-out documents: perplexities, gains, sources, segments, prefixes.";
const TOKENS_APART = 0.05; // tails are padded and dropped: the same steps see slightly different numbers of tokens

const NEEDS = ["tokenize", "train-routers", "score", "assign", "split"];

/** Evaluates the mixture of a run. */
export const evaluation: StageKind = {
  about: ABOUT,
  takes: [],
  of: (configuration) => [evaluateStage(configuration)],
};

/** A trained model of a run. */
export interface Model {
  /** Its name, as in the manifest's inputs. */
  name: string;
  /** Its name in messages. */
  what: string;
  /** Which expert it is; undefined for others. */
  expert?: number;
  folder: string;
  /** The stage that trains it. */
  stage: Pick<Stage, "name" | "command">;
}

/** Names an expert of a run. */
export const expertModel = (expert: number): Model => ({
  ...modelOf(expertTarget(expert), `expert ${expert}`),
  expert,
});
/** Names the baselines that a run may have. */
export const baselineModels = (): Model[] => baselineTargets().map((target) => modelOf(target, target.name));
const modelOf = ({ name, folder, command }: ReturnType<typeof expertTarget>, what: string): Model => ({
  name,
  what,
  folder,
  stage: { name: `train-${name}`, command },
});

/** How a run is evaluated: what {@linkcode evaluate} takes of it. */
export type EvaluationChoices =
  & Pick<
    EvaluateOptions,
    "resamples" | "mix" | "routingTemperature" | "reroute" | "fallback" | "margin" | "trained"
  >
  & {
    /** Kind of a partitioner that chooses among the experts as well: `self`, the experts themselves. */
    routeBy?: string;
  };

/** Makes the stage. */
export function evaluateStage({ experts }: Configuration, choices: EvaluationChoices = {}): Stage {
  const { resamples = RESAMPLES, routeBy, mix = [], routingTemperature, reroute, fallback, margin } = choices;
  const { trained } = choices;
  const several = {
    mix: mix.length === 0 ? undefined : mix,
    routingTemperature,
    reroute,
    fallback,
    margin,
    routeBy,
    trained,
  };
  const models = Array.from({ length: experts }, (_, expert) => expertModel(expert));
  const baselines = baselineModels();
  return {
    name: "evaluate",
    about: ABOUT,
    needs: NEEDS,
    uses: [...models, ...baselines].map(({ stage }) => stage.name),
    onRequest: true,
    settings: ["prefix", "seed", "routers"],
    revision: 2,
    outputs: [EVALUATION],
    makes: MADE_PARTS,
    async values({ configuration: { prefix, seed }, gpu }) {
      const device = await gpu?.(); // not opened to tell a state, which holds for any GPU and whatever was asked for
      const on = device ? { resamples, ...several, adapter: device.adapter, variants: device.variants } : {};
      return { format: EVALUATION_FORMAT, prefix, seed, ...on };
    },
    async inputs(context, manifest): Promise<Record<string, string>> {
      const [tokenize, score] = [await manifest("tokenize"), await manifest("score")];
      if (!tokenize || !score) return {};
      const hashes: Record<string, string> = {};
      for (const model of [...models, ...baselines]) {
        const sha256 = await weightsHash(context, model, manifest);
        if (sha256) hashes[model.name] = sha256;
      }
      return { tokens: outputsHash(tokenize, "tokens/test-"), routers: score.inputs.routers, ...hashes };
    },
    async prepare(work, { inputs }) {
      const { run, configuration, emit, signal } = work;
      const [tokenize, score] = [await work.manifest("tokenize"), await work.manifest("score")];
      const total = tokenizeResult(tokenize, run).testSequences;
      if (total === 0) {
        throw new InputError(`Cannot evaluate "${run}" as there must be held-out sequences: there are none`, {
          where: run,
          remedy: say`partition again with a larger ${setting("holdout")}`,
        });
      }
      await checkPartitioner(work, score);
      const own = trained ? trained.map((expert) => models[expert]) : models;
      await checkModels(work, own, tokenize);
      checkRouteBy(run, routeBy);
      const dense = baselines.filter(({ name }) => name in inputs);
      await checkBaselines(work, dense, own, tokenize);
      const names = dense.map(({ name }) => name as Baseline);
      if (fallback !== undefined && !names.includes(fallback)) throw untrained(run, fallback);
      checkFallback(choices, names);
      checkWhole(run, choices);
      const { kind, routes } = await partitionerKind(await partitionerFolder(run, configuration.routers));
      mixesOf(choices, { kind, experts });
      return async () => {
        for (const message of await unequal(work, own, dense)) emit({ type: "warning", message });
        if (!routes) {
          const message =
            `parts by ${kind} cannot route a prompt: held-out sequences go where their true labels say`;
          emit({ type: "warning", message });
        }
        const mixture = await openMixture({
          run,
          partitioner: await partitionerFolder(run, configuration.routers),
          models: 1,
          vouched: work.files,
          gpu: await work.gpu(),
        });
        const shards = outputsUnder(tokenize, "tokens/test-");
        const other = routeBy === undefined
          ? undefined
          : await PARTITIONERS.get(routeBy)!.open(`${run}/${EXPERTS}`, work.gpu, { vouched: work.files });
        const evaluation = await evaluate({
          mixture,
          routeBy: other,
          prefix: configuration.prefix,
          baselines: names,
          trained,
          open: () => readShards(shards.map((path) => `${run}/${path}`), work.files),
          known: (name) => knownScores(work, models.concat(dense), name, inputs),
          resamples,
          mix,
          routingTemperature,
          reroute,
          fallback,
          margin,
          seed: configuration.seed,
          onProgress: (done) =>
            emit({
              type: "progress",
              stage: "evaluate",
              done,
              // The text that goes to experts that are there is known once it is routed.
              total: trained
                ? undefined
                : (1 + Number(reroute !== undefined) + Number(routeBy !== undefined) +
                  models.length + dense.length) *
                  total,
              unit: "sequences",
            }),
          signal,
        }).finally(() => {
          other?.close();
          mixture.close();
        });
        const { documents, sequences, tokens } = evaluation;
        const outputs = { [EVALUATION]: await writeAtomic(`${run}/${EVALUATION}`, jsonText(evaluation)) };
        await removeParts(run);
        return { outputs, result: { documents, sequences, tokens } };
      };
    },
    part: (work, { inputs }, part) =>
      evaluatePart(work, ofPart(models.concat(baselines), part), models.concat(baselines), inputs),
    reads: ({ inputs }, part = { index: 1, of: 1 }) => [
      ...NEEDS,
      ...ofPart(models.concat(baselines), part).filter(({ name }) => name in inputs).map(({ stage }) =>
        stage.name
      ),
    ],
  };
}

const isThere = (run: string, { folder }: Pick<Model, "folder">) =>
  exists(`${run}/${folder}/model.safetensors`);

/** Lists the experts of a run that are trained, or adopted; none where all or none are. */
export async function trainedExperts(run: string, { experts }: Configuration): Promise<number[] | undefined> {
  const ids = [...Array(experts).keys()];
  const there = await Promise.all(ids.map((expert) => isThere(run, expertModel(expert))));
  const trained = ids.filter((expert) => there[expert]);
  return trained.length === 0 || trained.length === experts ? undefined : trained;
}

/** Checks that what takes all experts is not asked of some. */
function checkWhole(run: string, { trained, mix = [], reroute, fallback, routeBy }: EvaluationChoices): void {
  if (!trained) return;
  const asked = [
    mix.length > 0 && "mix",
    reroute !== undefined && "reroute",
    fallback !== undefined && "fallback",
    routeBy !== undefined && "routeBy",
  ].find((name) => name !== false);
  if (asked === undefined) return;
  throw new InputError(
    say`Cannot evaluate "${run}" with ${setting(asked)} as every expert must be trained: ${
      String(trained.length)
    } are`,
    { where: run, remedy: say`train the others, or leave it out` },
  );
}

/** Says that a dense model that takes what is unsure is not there, and how it is trained. */
function untrained(run: string, name: Baseline): InputError {
  const { task: train, with: settings } = baselineTargets().find((target) => target.name === name)!.command;
  return new InputError(
    say`Cannot evaluate "${run}" as ${
      setting("fallback")
    } must name a dense model that is trained: ${name} is not`,
    { where: run, remedy: say`run ${task(train, { ...settings, run })} first` },
  );
}

/** Folder of a run's experts. */
const EXPERTS = "experts";

/** Checks that another partitioner takes a run's experts as they are: it has nothing to learn. */
function checkRouteBy(run: string, routeBy: string | undefined): void {
  if (routeBy === undefined) return;
  const kind = PARTITIONERS.get(routeBy);
  if (kind?.routes && !kind.splits) return;
  const kinds = [...PARTITIONERS.values()].filter(({ routes, splits }) => routes && !splits);
  throw new InputError(
    say`Cannot evaluate "${run}" as ${setting("routeBy")} must be a kind that only routes (${
      kinds.map(({ kind }) => kind).join(", ")
    }): it is "${routeBy}"`,
  );
}

/** What a part leaves of a model: the NLL of every held-out sequence, f32, little endian. */
const PLACE = { stage: "evaluate", folder: "evaluation" };
const MODEL_NAMES = `expert-\\d{2,}|${BASELINES.join("|")}`;
const MADE_PARTS = new RegExp(
  `^(evaluation\\.json|(manifests/evaluate|evaluation)/(${MODEL_NAMES})\\.f32(\\.json)?)$`,
);

const ofPart = (models: readonly Model[], { index, of }: Part): Model[] =>
  models.filter((_, i) => i % of === index - 1);

/** Hashes what the scores of a model depend on: its weights, the sequences and the device. */
async function scoresKey({ gpu }: Work, model: Model, inputs: Record<string, string>): Promise<string> {
  const { adapter, variants } = await gpu();
  return stageKey("evaluate model", 1, { adapter, variants }, {
    tokens: inputs.tokens,
    weights: inputs[model.name],
  });
}

/**
 * Scores the held-out sequences with the models of a part that are trained, unless that is done. Returns the models of the part, and
 * how many of all that are trained are `evaluated`, of how many.
 */
async function evaluatePart(
  work: Work,
  own: readonly Model[],
  all: readonly Model[],
  inputs: Record<string, string>,
): Promise<Record<string, unknown>> {
  const { run, configuration, emit, signal, lock } = work;
  const tokenize = await work.manifest("tokenize");
  const { tokenizer, vocabulary, testSequences } = tokenizeResult(tokenize, run);
  const shards = outputsUnder(tokenize, "tokens/test-").map((path) => `${run}/${path}`);
  const trained = own.filter(({ name }) => name in inputs);
  for (const model of trained) {
    await checkModel(
      work,
      model,
      { shape: {}, whose: "the run" },
      tokenize,
      await shardsOf(work, model, tokenize),
    );
    const [file, key] = [`${model.name}.f32`, await scoresKey(work, model, inputs)];
    const release = await lock(`${PLACE.stage}-${model.name}`, { patience: Infinity });
    try {
      if (await noteOf({ ...PLACE, run, file, key })) continue;
      const mixture = await openMixture({
        run,
        partitioner: await partitionerFolder(run, configuration.routers),
        models: 1,
        vouched: work.files,
        gpu: await work.gpu(),
      });
      const { nll } = await scoreModel(modelName(model), {
        mixture,
        open: () => readShards(shards, work.files),
        onProgress: (done) =>
          emit({ type: "progress", stage: "evaluate", done, total: testSequences, unit: "sequences" }),
        signal,
      }, { tokenizer, vocabulary, sequenceLength: configuration.sequenceLength }).finally(() =>
        mixture.close()
      );
      const written = await writeAtomic(`${run}/${PLACE.folder}/${file}`, new Uint8Array(nll.buffer));
      await writeNote(run, PLACE.stage, file, {
        key,
        ...written,
        rows: nll.length,
        read: { ...work.files.read },
      });
    } finally {
      await release();
    }
  }
  let evaluated = 0;
  const there = all.filter(({ name }) => name in inputs);
  for (const model of there) {
    const key = await scoresKey(work, model, inputs);
    if (await noteOf({ ...PLACE, run, file: `${model.name}.f32`, key })) evaluated++;
  }
  return { own: trained.map(({ name }) => name), evaluated, models: there.length };
}

/** Reads what a part found of a model; undefined where none did. */
async function knownScores(
  work: Work,
  models: readonly Model[],
  name: ModelName,
  inputs: Record<string, string>,
): Promise<ModelScores | undefined> {
  const { run, files } = work;
  if (!await exists(`${run}/${PLACE.folder}`)) return undefined;
  const model = models.find((model) => modelName(model) === name)!;
  const file = `${model.name}.f32`;
  const note = await noteOf({ ...PLACE, run, file, key: await scoresKey(work, model, inputs) });
  if (!note) return undefined;
  const bytes = await Deno.readFile(`${run}/${PLACE.folder}/${file}`);
  if (sha256(bytes) !== note.sha256) return undefined; // scored again
  files.note(note.read ?? {});
  const { config, notes } = await loadCheckpointConfig(`${run}/${model.folder}`, files);
  return { config, notes, nll: new Float32Array(bytes.buffer) };
}

/** Removes what parts left. */
async function removeParts(run: string): Promise<void> {
  for (const folder of [PLACE.folder, `manifests/${PLACE.stage}`]) {
    await removeFiles(run, folder, (path) => MADE_PARTS.test(path));
  }
}

/** Names a model as the mixture does. */
const modelName = ({ expert, name }: Model): ModelName => expert ?? name as Baseline;

/** Hashes the shards that a model is to have been trained on. */
async function shardsOf({ run, files }: Work, { expert }: Model, tokenize: Manifest): Promise<string> {
  return expert === undefined
    ? outputsHash(tokenize, "tokens/train-")
    : partHash(await readPart(`${run}/partition/${expertFolder(expert)}`, files));
}

/** Gives the hash of a model's weights: from its training's manifest, or of a file that came from elsewhere; undefined where it is not trained. */
export async function weightsHash(
  { run }: RunContext,
  { folder, stage }: Model,
  manifest: ManifestReader,
): Promise<string | undefined> {
  const path = `${folder}/model.safetensors`;
  if (!await isThere(run, { folder })) return undefined;
  return (await manifest(stage.name))?.outputs[path]?.sha256 ?? (await hashFile(`${run}/${path}`)).sha256;
}

/** Checks that the partitioner is the one that scored the run and made its partition. */
async function checkPartitioner({ run, configuration, files }: Work, score: Manifest): Promise<void> {
  const folder = await partitionerFolder(run, configuration.routers);
  const { sha256, experts: routers } = await identifyPartitioner(folder);
  const { experts } = await readPartition(`${run}/partition`, files);
  const remedy = configuration.routers
    ? say`run ${task("partition", { run })}`
    : say`copy its own routers again, or run ${task("train-routers", { run, force: true })}`;
  if (experts !== routers) {
    throw new InputError(
      `Cannot evaluate "${run}" as it must have a part for every router: it has ${experts} parts, ${routers} routers`,
      { where: folder, remedy },
    );
  }
  checkSame(`the routers of "${folder}"`, sha256, score.inputs.routers, {
    must: "be those that scored the run",
    remedy,
  });
}

/** Experts that a message names, at most. */
const MOST_NAMED = 8;

/** Throws an `InputError` that names the experts which are not trained; `verb` says what they are needed for. */
export async function checkTrained(run: string, models: readonly Model[], verb: string): Promise<void> {
  const there = await Promise.all(models.map((model) => isThere(run, model)));
  const missing = models.flatMap((_, expert) => there[expert] ? [] : [expert]);
  if (missing.length === 0) return;
  const one = missing.length === 1;
  const more = missing.length - MOST_NAMED;
  const some = verb === "evaluate" && missing.length < models.length;
  throw new InputError(
    `Cannot ${verb} "${run}" as every expert must be trained: ${one ? "expert" : "experts"} ${
      missing.slice(0, MOST_NAMED).join(", ")
    }${more > 0 ? ` and ${more} more` : ""} ${one ? "is" : "are"} not`,
    {
      where: `${run}/experts`,
      remedy: say`run ${task("train-expert", { run, expert: one ? missing[0] : "all" })} first${
        some ? say`, or evaluate those that are, with ${setting("trained")}` : ""
      }`,
    },
  );
}

/** Checks, without their weights, that all experts are trained and fit one another and the partition. */
async function checkModels(work: Work, models: readonly Model[], tokenize: Manifest): Promise<void> {
  const { run } = work;
  await checkTrained(run, models, "evaluate");
  const like = await likeOf(work, models);
  for (const model of models) {
    await checkModel(work, model, like, tokenize, await shardsOf(work, model, tokenize));
  }
}

/** Gives the shape that models trained here must have: that of the first expert which was; of any size where all were adopted. */
export async function likeOf(work: Work, models: readonly Model[]): Promise<Like> {
  for (const { folder, what } of models) {
    const { config, notes } = await loadCheckpointConfig(`${work.run}/${folder}`, work.files);
    if (notes.adopted === undefined) return { shape: config, whose: what };
  }
  return { shape: {}, whose: "the run" };
}

/** A shape that models are held against, and whose it is. */
export interface Like {
  /** The shape, as far as it is given. */
  shape: Partial<ModelConfig>;
  /** Whose it is, as a message names it. */
  whose: string;
}

/** Checks that dense models fit the experts and the training text. */
async function checkBaselines(
  work: Work,
  baselines: readonly Model[],
  experts: readonly Model[],
  tokenize: Manifest,
): Promise<void> {
  const like = await likeOf(work, experts);
  for (const model of baselines) {
    await checkModel(work, model, like, tokenize, await shardsOf(work, model, tokenize));
  }
}

/** Checks a model's shape, its tokenizer, and that it learnt from the shards that are there now, as far as it or its manifest says. */
async function checkModel(
  work: Work,
  model: Model,
  { shape, whose }: Like,
  tokenize: Manifest,
  shards: string,
): Promise<void> {
  const { run } = work;
  const checkpoint = await loadCheckpointConfig(`${run}/${model.folder}`, work.files);
  checkShape(checkpoint, shape, model.what, { whose, textAlone: hasOwnShape(model.name) });
  const { notes } = checkpoint;
  checkTokenizer(model.what, notes.tokenizer, tokenizeResult(tokenize, run).tokenizer);
  for (const trained of [notes.partition, (await work.known(model.stage.name))?.inputs.shards]) {
    if (trained === undefined) continue;
    checkSame(model.what, trained, shards, {
      must: "have been trained on the shards that are there now",
      remedy: say`run ${commandOf(model.stage, run)} again`,
    });
  }
}

/**
 * Says what makes the comparison uneven: experts trained differently, a baseline that is to see as many tokens as all of them on fewer
 * or more, one that is to cost as much compute on less or more.
 */
async function unequal(
  work: Work,
  experts: readonly Model[],
  baselines: readonly Model[],
): Promise<string[]> {
  const manifests = await Promise.all(experts.map(({ stage }) => work.known(stage.name)));
  const known = manifests.filter((manifest) => manifest !== null);
  if (known.length < experts.length) return [];
  const messages: string[] = [];
  const adopted = manifests.flatMap((manifest, i) => {
    const adoption = adoptionOf(manifest);
    return adoption ? [`${experts[i].what} from "${adoption.from}"`] : [];
  });
  if (adopted.length > 0) {
    return [`others trained ${adopted.join(", ")}: what that cost, and on which tokens, is not known here`];
  }
  for (const field of ["steps", "batch", "rate"]) {
    const values = [...new Set(known.map(({ configuration }) => Number(configuration[field])))];
    if (values.length > 1) {
      messages.push(`experts were trained with different ${field}: ${values.join(", ")}`);
    }
  }
  const tokens = known.reduce((sum, { result }) => sum + Number(result.tokens), 0);
  for (const { name, stage } of baselines) {
    const result = (await work.known(stage.name))?.result;
    if (isBaseline(name) && !BASELINE_NOTES[name].sameTokens) {
      const message = costApart(name, result?.cost as TrainingCost | undefined);
      if (message) messages.push(message);
      continue;
    }
    const seen = Number(result?.tokens ?? tokens);
    if (Math.abs(seen / tokens - 1) > TOKENS_APART) {
      messages.push(
        `${name} was trained on ${seen} tokens, the experts together on ${tokens}: their costs are not equal`,
      );
    }
  }
  return messages;
}

/** Throws an `InputError` with both values where two hashes differ. */
function checkSame(
  what: string,
  actual: string,
  expected: string,
  { must, remedy }: { must: string; remedy: Text },
): void {
  if (actual === expected) return;
  throw new InputError(
    `Cannot evaluate as ${what} must ${must}: SHA-256 is ${shortHash(actual)}, not ${shortHash(expected)}`,
    { remedy },
  );
}
