/**
 * The stages that ask zero-shot tasks, one per task, so that they can be asked on different machines: each keeps what it came to
 * as `zero-shot/TASK.json`.
 *
 * @module
 */

import { InputError, say, setting } from "../../kernels/errors.ts";
import { type Baseline } from "../evaluation/baselines.ts";
import { RESAMPLES } from "../evaluation/evaluate.ts";
import {
  ZERO_SHOT,
  type ZeroShotOptions,
  zeroShotPath,
  zeroShotTasks,
} from "../evaluation/choices/asking.ts";
import { findData, hashData, readQuestions } from "../evaluation/choices/data.ts";
import { encodeQuestions, fittingQuestions, withExamples } from "../evaluation/choices/prompts.ts";
import { ZERO_SHOT_FORMAT, type ZeroShotResult } from "../evaluation/choices/results.ts";
import { askQuestions } from "../evaluation/choices/score.ts";
import { heldOutDocuments, MADE_TASKS, type MadeTask, passagesOf } from "../evaluation/choices/suite.ts";
import { type ChoiceTask, type Question, TASKS, type ZeroShotTask } from "../evaluation/choices/tasks.ts";
import { mixesOf } from "../evaluation/mix.ts";
import { identifyPartitioner, partitionerFolder } from "../partition/partitioners.ts";
import { readShards } from "../rows/arrow.ts";
import { hashFile, jsonText, writeAtomic } from "../run/files.ts";
import { outputsHash, outputsUnder } from "../run/manifest.ts";
import { openMixture } from "../serving/mixture.ts";
import type { Configuration } from "../settings/configuration.ts";
import { loadTokenizer, type Tokenizer } from "../text/tokenizer.ts";
import { baselineModels, checkTrained, expertModel, leftOut, weightsHash } from "./trained_models.ts";
import { likeOf } from "./evaluate_checks.ts";
import { LEARN } from "./learn.ts";
import type { Stage, StageKind, Work } from "./stage.ts";
import { TOKENIZER } from "./tokenizer.ts";

export { MADE_ZERO_SHOT, type ZeroShotOptions, zeroShotTasks } from "../evaluation/choices/asking.ts";

const ABOUT =
  "Asks zero-shot tasks of the mixture of a run, beside its dense models; without data, tasks made of held-out text.";

/** Asks zero-shot tasks of the mixture of a run. */
export const zeroShot: StageKind = {
  about: ABOUT,
  takes: [],
  of: (configuration) => zeroShotTasks().map((task) => zeroShotStage(configuration, task)),
};

/** Makes the stage of a task. */
export function zeroShotStage(
  { experts }: Configuration,
  name: string,
  options: ZeroShotOptions = {},
): Stage {
  const { data, fewShot = 0, limit, routing = "context", resamples = RESAMPLES } = options;
  const { mix = [], routingTemperature } = options;
  const made = MADE_TASKS.get(name);
  const published = TASKS.get(name);
  const task: ZeroShotTask = (made ?? published)!;
  const models = Array.from({ length: experts }, (_, expert) => expertModel(expert));
  const baselines = baselineModels();
  const stage: Stage = {
    name: `${ZERO_SHOT}-${name}`,
    about: `Asks ${name}: ${task.about}.`,
    command: { task: ZERO_SHOT, with: { task: name } },
    needs: made ? ["tokenize"] : [],
    uses: ["tokenizer", LEARN, ...[...models, ...baselines].map(({ stage }) => stage.name)],
    onRequest: true,
    optional: true,
    settings: ["prefix", "seed", "routers"],
    revision: made ? 3 : 2, // 2: tokens of a Switch model go to its experts; 3: questions of one document are drawn together
    outputs: [zeroShotPath(name)],
    async values({ configuration: { prefix, seed }, gpu }) {
      const device = await gpu?.(); // not opened to tell a state, which holds for any GPU and any way to ask
      const mixing = mix.length > 0 ? { mix, routingTemperature: routingTemperature ?? null } : {};
      const asked = { fewShot, limit: limit ?? null, routing, resamples, ...mixing };
      const on = device ? { ...asked, adapter: device.adapter, variants: device.variants } : {};
      return { format: ZERO_SHOT_FORMAT, prefix, seed, ...on };
    },
    async inputs(context, manifest): Promise<Record<string, string>> {
      const { run, configuration } = context;
      const [tokenizer, learned] = [await manifest("tokenizer"), await manifest(LEARN)];
      const folder = await partitionerFolder(run, configuration.routers);
      const hashes: Record<string, string> = {
        tokenizer: (tokenizer?.outputs[TOKENIZER] ?? await hashFile(`${run}/${TOKENIZER}`)).sha256,
        routers: learned ? String(learned.result.routers) : (await identifyPartitioner(folder)).sha256,
      };
      const tokenize = made && await manifest("tokenize");
      if (tokenize) hashes.tokens = outputsHash(tokenize, "tokens/test-");
      for (const model of [...models, ...baselines]) {
        const sha256 = await weightsHash(context, model, manifest);
        if (sha256) hashes[model.name] = sha256;
      }
      return hashes;
    },
    external: async () => published ? await hashData(await findData(dataOf(published, data), name)) : {},
    async prepare(work, { inputs }) {
      const { run, configuration, emit, signal } = work;
      mixesOf({ mix, routingTemperature }, { kind: configuration.partitioner, experts });
      await checkTrained(run, models, "ask questions of");
      for (const message of await leftOut(run, baselines)) emit({ type: "warning", message });
      const { shape: { context: longest = configuration.sequenceLength } } = await likeOf(work, models);
      const tokenizer = await loadTokenizer(`${run}/${TOKENIZER}`, {
        eos: configuration.eos || undefined,
        vouched: work.files,
      });
      const all = made
        ? await makeQuestions(work, made, tokenizer, longest)
        : await readPublished(published!, dataOf(published!, data));
      const questions = limit === undefined ? all.questions : firstOfEach(all.questions, limit);
      const contexts = withExamples(task, questions, fewShot, all.pool);
      const prompts = await encodeQuestions(tokenizer, questions, contexts, longest);
      await work.settle(() => Promise.resolve());
      return async () => {
        if (routing === "context" && contexts.every((context) => context === "")) {
          const message = say`${name} has no text before its choices, so expert 0 answers all of it: ${
            setting("routeWithChoice")
          } lets choices route`;
          emit({ type: "warning", message });
        }
        const mixture = await openMixture({
          run,
          partitioner: await partitionerFolder(run, configuration.routers),
          // A task without choices is continued by all experts that are mixed, so they are held together.
          models: task.metrics.includes("perplexity") ? Math.max(1, ...mix) : 1,
          vouched: work.files,
          gpu: await work.gpu(),
        });
        const result = await askQuestions({
          ...{
            mixture,
            task,
            questions,
            prompts,
            fewShot,
            routing,
            resamples,
            mix,
            routingTemperature,
            signal,
          },
          published: all.questions.length,
          prefix: configuration.prefix,
          seed: configuration.seed,
          baselines: baselines.filter(({ name }) => name in inputs).map(({ name }) => name as Baseline),
          onProgress: (done, total) =>
            emit({ type: "progress", stage: stage.name, done, total, unit: "choices" }),
        }).finally(() => mixture.close());
        if (result.cut > 0) {
          const message =
            `${result.cut} of ${result.questions} questions of ${name} are longer than the model's ` +
            `context: they lost tokens at the left`;
          emit({ type: "warning", message });
        }
        const record = await writeAtomic(
          `${run}/${zeroShotPath(name)}`,
          jsonText(result satisfies ZeroShotResult),
        );
        return { outputs: { [zeroShotPath(name)]: record }, result: { questions: result.questions } };
      };
    },
  };
  return stage;
}

/** Questions of a task, and what examples are taken from where that is apart. */
interface Asked {
  questions: Question[];
  pool?: Question[];
}

/** Gives the folder of the data. Throws an `InputError` where there is none. */
function dataOf({ name }: ChoiceTask, data: string | undefined): string {
  if (data !== undefined) return data;
  throw new InputError(
    say`Cannot ask ${name} as ${setting("data")} must name the folder with its questions: it is not given`,
    { remedy: `tasks that need none are ${[...MADE_TASKS.keys()].join(", ")}` },
  );
}

async function readPublished(task: ChoiceTask, data: string): Promise<Asked> {
  const files = await findData(data, task.name);
  return {
    questions: await readQuestions(files.questions, task),
    pool: files.examples === undefined ? undefined : await readQuestions(files.examples, task),
  };
}

/** Says that no question of a task can be made of a run's held-out text. */
export class NoQuestionsError extends InputError {}

/** Makes questions of the run's held-out documents. Throws a {@linkcode NoQuestionsError} where none can be made of them. */
async function makeQuestions(
  { run, configuration: { packing }, files, manifest }: Work,
  { name, make }: MadeTask,
  tokenizer: Tokenizer,
  longest: number,
): Promise<Asked> {
  const shards = outputsUnder(await manifest("tokenize"), "tokens/test-").map((path) => `${run}/${path}`);
  const documents = await Array.fromAsync(heldOutDocuments(readShards(shards, files), tokenizer, packing));
  const questions = await fittingQuestions(tokenizer, make(passagesOf(documents, longest)), longest);
  if (questions.length > 0) return { questions };
  throw new NoQuestionsError(
    `Cannot ask ${name} as questions must be made of the held-out text of "${run}": there is none that fits`,
    {
      where: run,
      remedy: say`name ${setting("data")} and its tasks, or partition again with a larger ${
        setting("holdout")
      }`,
    },
  );
}

/** Takes the first questions of every set. */
function firstOfEach(questions: readonly Question[], limit: number): Question[] {
  const taken = new Map<string, number>();
  return questions.filter(({ set }) => {
    const count = taken.get(set) ?? 0;
    taken.set(set, count + 1);
    return count < limit;
  });
}
