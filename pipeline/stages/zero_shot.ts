/**
 * Asks zero-shot tasks of the mixture of a run, next to its dense models: a node for every task, so that they can be asked on different
 * machines.
 *
 *     zero-shot/piqa/     piqa.json: what the task came to
 *
 * @module
 */

import { InputError, say, setting } from "../../kernels/errors.ts";
import {
  MADE_ZERO_SHOT,
  type ZeroShotOptions,
  zeroShotPath,
  zeroShotTasks,
} from "../evaluation/choices/asking.ts";
import { type DataFiles, findData, hashData, listData, readQuestions } from "../evaluation/choices/data.ts";
import { encodeQuestions, fittingQuestions, withExamples } from "../evaluation/choices/prompts.ts";
import { readZeroShot, ZERO_SHOT_FORMAT, type ZeroShotResult } from "../evaluation/choices/results.ts";
import { askQuestions } from "../evaluation/choices/score.ts";
import { cutPassages, heldOutDocuments, MADE_TASKS } from "../evaluation/choices/suite.ts";
import { type ChoiceTask, type Question, TASKS, type ZeroShotTask } from "../evaluation/choices/tasks.ts";
import { RESAMPLES } from "../evaluation/bootstrap.ts";
import { listMixes } from "../evaluation/mix.ts";
import {
  ALL_TEST,
  type Making,
  type Node,
  oneByOne,
  PARTITIONER,
  TOKENIZER,
  type Work,
  ZERO_SHOT,
} from "../graph/node.ts";
import { readShards } from "../rows/arrow.ts";
import { isFolder, jsonText, writeAtomic } from "../run/files.ts";
import { openMixture } from "../serving/mixture.ts";
import { nearestText } from "../settings/field.ts";
import { type Tokenizer, tokenizerIn } from "../text/tokenizer.ts";
import { type EvaluationOf, gatherAsked, listBaselines } from "./evaluate.ts";
import { needConfiguration } from "./parts.ts";
import { modelsOfRun } from "./evaluate_run.ts";
import { tokensOfRun } from "./models.ts";
import { openRun, type RunOptions, type RunWatch } from "./run.ts";
import { TEST } from "./token_rows.ts";

/** Reports that no question of a task can be made of a run's held-out text. */
class NoQuestionsError extends InputError {}

/** Gives the revision of a task: 2, tokens of a Switch model go to its experts; 3, questions of one document are drawn together. */
export const zeroShotRevision = (name: string): number => MADE_TASKS.has(name) ? 3 : 2;

/** Which task, of what, and how it is asked. */
interface Asking extends ZeroShotOptions, EvaluationOf {
  task: ZeroShotTask;
  /** The files of its questions; questions of our own are made of held-out text. */
  files?: DataFiles;
}

/** Makes the node of a task, after the nodes that it is given. Throws an `InputError` where its data are missing. */
export async function zeroShotNodes(
  of: EvaluationOf,
  name: string,
  options: ZeroShotOptions = {},
): Promise<Node[]> {
  const { data, mix = [], routingTemperature = null, limit = null } = options;
  const { fewShot = 0, routing = "context", resamples = RESAMPLES } = options;
  const { prefix, seed } = of.configuration;
  const made = MADE_TASKS.get(name), task: ZeroShotTask = (made ?? TASKS.get(name))!;
  const files = made ? undefined : await findData(findTaskData(name, data), name);
  const { given, partitioner, weights, routers } = await gatherAsked(of, made !== undefined);
  return [...given, {
    name: `${ZERO_SHOT}/${name}`,
    needs: [TOKENIZER, ...made ? [ALL_TEST] : [], ...partitioner, ...weights],
    settings: {
      ...{ format: ZERO_SHOT_FORMAT, prefix, seed, fewShot, limit, routing, resamples },
      ...{ ...files && await hashData(files), ...routers },
      ...mix.length > 0 ? { mix, routingTemperature } : {},
    },
    links: { [zeroShotPath(name)]: `${name}.json` },
    revision: zeroShotRevision(name),
    maker: oneByOne(ZERO_SHOT, (making, work) => ask(making, work, { ...of, ...options, task, files })),
  }];
}

async function ask(making: Making, work: Work, of: Asking): Promise<Record<string, unknown>> {
  const { configuration, models, task, fewShot = 0, limit, routing = "context", mix = [] } = of;
  const { run, emit, signal } = work, { name } = task;
  const { routers, prefix, seed, eos, partitioner, experts, sequenceLength: longest } = configuration;
  listMixes(of, { kind: partitioner, experts }); // before questions are read
  const tokenizer = await tokenizerIn(making.path(TOKENIZER), { eos });
  const all = await readOwnQuestions(making, work, of, tokenizer);
  const questions = limit === undefined ? all.questions : firstOfEach(all.questions, limit);
  const contexts = withExamples(task, questions, fewShot, all.pool);
  const prompts = await encodeQuestions(tokenizer, questions, contexts, longest);
  if (routing === "context" && contexts.every((context) => context === "")) {
    const message = say`${name} has no text before its choices, so expert 0 answers all of it: ${
      setting("routeWithChoice")
    } lets choices route`;
    emit({ type: "warning", message });
  }
  const mixture = await openMixture({
    run,
    partitioner: routers || making.path(PARTITIONER),
    // A task without choices is continued by all experts that are mixed, so they are held together.
    models: task.metrics.includes("perplexity") ? Math.max(1, ...mix) : 1,
    gpu: await work.gpu(),
  });
  const result: ZeroShotResult = await askQuestions({
    ...of,
    ...{ mixture, questions, prompts, prefix, seed, signal, baselines: listBaselines(models) },
    published: all.questions.length,
    onProgress: (done, total) => emit({ type: "progress", stage: ZERO_SHOT, done, total, unit: "choices" }),
  }).finally(() => mixture.close());
  if (result.cut > 0) {
    const message = `${result.cut} of ${result.questions} questions of ${name} are longer than the model's ` +
      `context: they lost tokens at the left`;
    emit({ type: "warning", message });
  }
  const file = `${name}.json`;
  making.wrote(file, await writeAtomic(`${making.folder}/${file}`, jsonText(result)));
  return { questions: result.questions, ...of.files && { file: of.files.questions } };
}

/** Gives the questions of a task, and what examples are taken from where that is apart. */
async function readOwnQuestions(
  making: Making,
  { run }: Work,
  { task, files, tokens, configuration: { packing, sequenceLength: longest } }: Asking,
  tokenizer: Tokenizer,
): Promise<{ questions: Question[]; pool?: Question[] }> {
  if (files) {
    const read = (path: string) => readQuestions(path, task as ChoiceTask);
    const pool = files.examples === undefined ? undefined : await read(files.examples);
    return { questions: await read(files.questions), pool };
  }
  const shards = readShards(tokens.map((name) => `${making.path(name)}/${TEST}`));
  const documents = await Array.fromAsync(heldOutDocuments(shards, tokenizer, packing));
  const made = MADE_TASKS.get(task.name)!.make(cutPassages(documents, longest));
  const questions = await fittingQuestions(tokenizer, made, longest);
  if (questions.length > 0) return { questions };
  throw new NoQuestionsError(
    `Cannot ask ${task.name} as questions must be made of the held-out text of "${run}": there is none that fits`,
    {
      where: run,
      remedy: say`name ${setting("data")} and its tasks, or partition again with a larger ${
        setting("holdout")
      }`,
    },
  );
}

/** Gives the folder of the data. Throws an `InputError` where there is none. */
function findTaskData(task: string, data: string | undefined): string {
  if (data !== undefined) return data;
  throw new InputError(
    say`Cannot ask ${task} as ${setting("data")} must name the folder with its questions: it is not given`,
    { remedy: `tasks that need none are ${MADE_ZERO_SHOT.join(", ")}` },
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

/** Reports what to ask and how. */
export interface ZeroShotRunOptions extends Omit<RunOptions, "sources">, ZeroShotOptions {
  /**
   * Names of tasks; unless given, all whose data are in the folder, and without one those of our own that can be made of the run's
   * text.
   */
  tasks?: readonly string[];
}

/**
 * Asks zero-shot tasks of the mixture of a run, next to the models of all text that are trained there, each unless that is done: of the same
 * models, questions and options. Throws an `InputError` where a task is unknown, or its data are missing or damaged. Also where an expert is
 * not trained, or models differ in shape or tokenizer. It throws what `openRun` throws as well.
 */
export async function askRun(options: ZeroShotRunOptions, watch: RunWatch = {}): Promise<ZeroShotResult[]> {
  const { run, data, tasks, force } = options;
  const names = [...new Set(tasks?.length ? tasks : await listTasks(data))];
  const unknown = names.find((name) => !zeroShotTasks().includes(name));
  if (unknown !== undefined) {
    throw new InputError(
      say`Cannot ask "${unknown}" as ${setting("task")} must name one of ${zeroShotTasks().join(", ")}: ${
        nearestText(unknown, zeroShotTasks())
      }`,
    );
  }
  await needConfiguration(run);
  return await openRun(options, watch, ZERO_SHOT, async ({ configuration, make }) => {
    const models = await modelsOfRun(run, configuration, "ask questions of");
    const tokens = names.some((name) => MADE_TASKS.has(name)) ? await tokensOfRun(run) : [];
    const results: ZeroShotResult[] = [];
    for (const name of names) {
      const nodes = await zeroShotNodes({ configuration, tokens, models }, name, options);
      try {
        await make(nodes, { again: force ? [`${ZERO_SHOT}/${name}`] : [] });
      } catch (error) {
        const isLast = name === names.at(-1) && results.length === 0;
        if (!(error instanceof NoQuestionsError) || tasks?.length || isLast) throw error;
        watch.onEvent?.({ type: "warning", message: error.what });
        continue;
      }
      results.push(await readZeroShot(`${run}/${ZERO_SHOT}/${name}/${name}.json`));
    }
    return results;
  });
}

/** Lists the tasks whose data are in a folder; without a folder those of our own. */
async function listTasks(data: string | undefined): Promise<readonly string[]> {
  if (data === undefined) return MADE_ZERO_SHOT;
  const found = await listData(data, [...TASKS.keys()]);
  if (found.length > 0) return found;
  const fact = await isFolder(data) ? "it holds none" : "there is no such folder";
  throw new InputError(
    `Cannot ask the questions of "${data}" as it must hold a file such as arc_easy.jsonl: ${fact}`,
    { where: data },
  );
}
