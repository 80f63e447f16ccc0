/**
 * Asks zero-shot tasks of the mixture of a run, next to its dense models: a node for every task, so
 * that they can be asked on different machines.
 *
 *     zero-shot/piqa/     piqa.json: what the task came to
 *
 * @module
 */

import { ensure, InputError, say, setting, type Text } from "../../kernels/errors.ts";
import { RESAMPLES } from "../evaluation/bootstrap.ts";
import {
  encodeQuestions,
  findData,
  fittingQuestions,
  readQuestions,
} from "../evaluation/choices/questions.ts";
import {
  readZeroShot,
  ZERO_SHOT_FORMAT,
  type ZeroShotOptions,
  type ZeroShotResult,
} from "../evaluation/choices/results.ts";
import { askQuestions } from "../evaluation/choices/score.ts";
import {
  cutPassages,
  heldOutDocuments,
  MADE_TASKS,
  MADE_ZERO_SHOT,
  zeroShotTasks,
} from "../evaluation/choices/suite.ts";
import { type Question, TASKS } from "../evaluation/choices/tasks.ts";
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
import { hashFile, isFolder, jsonText } from "../graph/files.ts";
import { openMixture } from "../serving/mixture.ts";
import { nearestText } from "../settings/field.ts";
import { type Tokenizer, tokenizerIn } from "../text/tokenizer.ts";
import { type EvaluationOf, gatherAsked, listBaselines } from "../stages/evaluate.ts";
import { needConfiguration } from "../stages/parts.ts";
import { modelsOfRun } from "./evaluate_run.ts";
import { tokensOfRun } from "./models.ts";
import { openRun, type RunOptions, type RunWatch } from "./run.ts";
import { TEST } from "../stages/token_rows.ts";

/** Reports that no question of a task can be made of a run's held-out text. */
class NoQuestionsError extends InputError {}

/**
 * Gives the revision of a task: 2, tokens of a Switch model go to its experts; 3, questions of one
 * document are drawn together; one more, no examples stand before a question.
 */
export const zeroShotRevision = (name: string): number => MADE_TASKS.has(name) ? 4 : 3;

/** Which task, of what, and how it is asked. */
interface Asking extends ZeroShotOptions, EvaluationOf {
  name: string;
  /** The file of its questions; questions of our own are made of held-out text. */
  path?: string;
}

/**
 * Makes the node of a task, after the nodes that it is given. Throws an `InputError` where its data
 * are missing.
 */
export async function zeroShotNodes(
  of: EvaluationOf,
  name: string,
  options: ZeroShotOptions = {},
): Promise<Node[]> {
  const { mix = [], routingTemperature = null, limit = null } = options;
  const { routing = "context", resamples = RESAMPLES } = options;
  const { prefix, seed } = of.configuration;
  const isMade = MADE_TASKS.has(name);
  const path = isMade ? undefined : await findQuestions(name, options.data);
  const { given, partitioner, weights, routers } = await gatherAsked(of, isMade);
  return [...given, {
    name: `${ZERO_SHOT}/${name}`,
    needs: [TOKENIZER, ...isMade ? [ALL_TEST] : [], ...partitioner, ...weights],
    settings: {
      format: ZERO_SHOT_FORMAT,
      prefix,
      seed,
      limit,
      routing,
      resamples,
      ...path === undefined ? {} : { data: (await hashFile(path)).sha256 },
      ...routers,
      ...mix.length > 0 ? { mix, routingTemperature } : {},
    },
    links: { [`${ZERO_SHOT}/${name}.json`]: `${name}.json` },
    revision: zeroShotRevision(name),
    maker: oneByOne(
      ZERO_SHOT,
      (making, work) => ask(making, work, { ...of, ...options, name, path }),
    ),
  }];
}

/** Finds the file of a published task's questions. Throws an `InputError` if there is none. */
async function findQuestions(name: string, folder: string | undefined): Promise<string> {
  const refuse = (rule: Text, remedy: Text) =>
    new InputError(say`Cannot ask ${name} as ${rule}`, { where: folder, remedy });
  if (folder === undefined) {
    const rule = say`${setting("data")} must name the folder with its questions: it is not given`;
    throw refuse(rule, `tasks that need none are ${MADE_ZERO_SHOT.join(", ")}`);
  }
  const path = await findData(folder, name);
  if (path !== undefined) return path;
  throw refuse(
    `its questions must be in "${folder}": there is neither ${name}.jsonl nor ${name}.parquet`,
    say`put them there as its data set publishes them, or name another ${setting("data")}`,
  );
}

async function ask(making: Making, work: Work, of: Asking): Promise<Record<string, unknown>> {
  const { configuration, models, name, path, limit = Infinity, mix = [] } = of;
  const { run, emit, signal } = work;
  const task = MADE_TASKS.get(name) ?? TASKS.get(name)!;
  const warn = (message: Text) => emit({ type: "warning", message });
  const { routers, prefix, seed, eos, partitioner, experts, sequenceLength: longest } =
    configuration;
  listMixes(of, { kind: partitioner, experts }); // before questions are read
  const tokenizer = await tokenizerIn(making.path(TOKENIZER), { eos });
  const published = await readAllQuestions(making, work, of, tokenizer);
  const bySet = Map.groupBy(published, ({ set }) => set);
  const first = new Set(bySet.values().flatMap((questions) => questions.slice(0, limit)));
  const questions = published.filter((question) => first.has(question));
  const prompts = await encodeQuestions(tokenizer, questions, longest);
  if (of.routing !== "choice" && questions.every(({ context }) => context === "")) {
    const flag = setting("routeWithChoice");
    warn(
      say`${name} has no text before its choices, so expert 0 answers all of it: ${flag} lets choices route`,
    );
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
    task,
    mixture,
    questions,
    prompts,
    prefix,
    seed,
    signal,
    baselines: listBaselines(models),
    published: published.length,
    onProgress: (done, total) =>
      emit({ type: "progress", stage: ZERO_SHOT, done, total, unit: "choices" }),
  }).finally(() => mixture.close());
  if (result.cut > 0) {
    const fact = `${result.cut} of ${result.questions} questions of ${name} are longer than the ` +
      "model's context";
    warn(`${fact}: they lost tokens at the left`);
  }
  await making.write(`${name}.json`, jsonText(result));
  return { questions: result.questions, ...path !== undefined && { file: path } };
}

/** Reads the questions of a task, or makes them of the run's held-out text. */
async function readAllQuestions(
  making: Making,
  { run }: Work,
  { name, path, tokens, configuration: { packing, sequenceLength: longest } }: Asking,
  tokenizer: Tokenizer,
): Promise<Question[]> {
  if (path !== undefined) return await readQuestions(path, TASKS.get(name)!);
  const shards = readShards(tokens.map((name) => `${making.path(name)}/${TEST}`));
  const documents = await Array.fromAsync(heldOutDocuments(shards, tokenizer, packing));
  const made = MADE_TASKS.get(name)!.make(cutPassages(documents, longest));
  const questions = await fittingQuestions(tokenizer, made, longest);
  if (questions.length > 0) return questions;
  const fact = `questions must be made of the held-out text of "${run}": there is none that fits`;
  throw new NoQuestionsError(`Cannot ask ${name} as ${fact}`, {
    where: run,
    remedy: say`name ${setting("data")} and its tasks, or partition again with a larger ${
      setting("holdout")
    }`,
  });
}

/** Reports what to ask and how. */
export interface ZeroShotRunOptions extends Omit<RunOptions, "sources">, ZeroShotOptions {
  /**
   * Names of tasks; unless given, all whose data are in the folder, and without one those of our
   * own that can be made of the run's text.
   */
  tasks?: readonly string[];
}

/**
 * Asks zero-shot tasks of the mixture of a run, next to the models of all text that are trained
 * there, each unless that is done: of the same models, questions and options. Throws an
 * `InputError` where a task is unknown, or its data are missing or damaged. Also where an expert is
 * not trained, or models differ in shape or tokenizer. It throws what `openRun` throws as well.
 */
export async function askRun(
  options: ZeroShotRunOptions,
  watch: RunWatch = {},
): Promise<ZeroShotResult[]> {
  const { run, data, tasks, force } = options;
  const names = [...new Set(tasks?.length ? tasks : await listTasks(data))];
  const known = zeroShotTasks();
  for (const name of names) {
    const rule = say`${setting("task")} must name one of ${known.join(", ")}: ${
      nearestText(name, known)
    }`;
    ensure(known.includes(name), say`Cannot ask "${name}" as ${rule}`);
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
  const found: string[] = [];
  for (const name of TASKS.keys()) if (await findData(data, name)) found.push(name);
  if (found.length > 0) return found;
  const fact = await isFolder(data) ? "it holds none" : "there is no such folder";
  throw new InputError(
    `Cannot ask the questions of "${data}" as it must hold a file such as arc_easy.jsonl: ${fact}`,
    { where: data },
  );
}
