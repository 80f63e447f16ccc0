/**
 * Asks zero-shot tasks of the mixture of a run, next to its dense models: a node for every task, so
 * that they can be asked on different machines.
 *
 *     zero-shot/piqa/     piqa.json: what the task came to
 *
 * What asks is loaded once something is to be asked: others list these nodes.
 *
 * @module
 */

import { InputError, say, setting, task, type Text } from "../../kernels/errors.ts";
import { RESAMPLES } from "../evaluation/bootstrap.ts";
import {
  encodeQuestions,
  findData,
  fittingQuestions,
  readQuestions,
} from "../evaluation/choices/questions.ts";
import {
  ZERO_SHOT_FORMAT,
  type ZeroShotOptions,
  type ZeroShotResult,
} from "../evaluation/choices/results.ts";
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
  type Asked,
  type Making,
  type Node,
  oneByOne,
  orGiven,
  PARTITIONER,
  readManifest,
  TOKENIZER,
  unaskedNode,
  type Work,
  ZERO_SHOT,
} from "../graph/node.ts";
import { readShards } from "../rows/arrow.ts";
import { hashFile, jsonText } from "../graph/files.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { askedModels, type EvaluationOf, gatherAsked, listBaselines } from "./evaluate.ts";
import { partsAlone } from "./parts.ts";
import type { GraphOf } from "./stage.ts";
import { listTokens, TEST } from "./token_rows.ts";

/** Reports that no question of a task can be made of a run's held-out text. */
export class NoQuestionsError extends InputError {}

/**
 * Gives the revision of a task: 2, tokens of a Switch model go to its experts; 3, questions of one
 * document are drawn together; one more, no examples stand before a question.
 */
export const askRevision = (name: string): number => MADE_TASKS.has(name) ? 4 : 3;

/** A task that is asked, or that nobody has asked yet. */
export interface AskRequest {
  /** Name of the task. */
  name: string;
  /** The models that it is asked of. */
  models: EvaluationOf["models"];
  /** How it is asked, as its node keeps it. Without it nobody has asked the task. */
  settings?: Record<string, unknown>;
  /** How it is asked. */
  options?: ZeroShotOptions;
  /** The file of its questions; questions of our own are made of held-out text. */
  path?: string;
}

/** A task, of what, and how it is asked. */
interface Asking extends ZeroShotOptions, EvaluationOf {
  name: string;
  path?: string;
}

/** Lists the node of a task, after those that it needs as these lie in the run. */
export async function askNodes(graph: GraphOf, request: AskRequest): Promise<Node[]> {
  const { run, configuration, recorded } = graph;
  const { name, models, settings } = request;
  const place = `${ZERO_SHOT}/${name}`;
  const asked: Asked = {
    name: `${ZERO_SHOT}-${name}`,
    command: task(ZERO_SHOT, { run, task: name }),
    optional: true,
  };
  if (!settings) return [unaskedNode(place, askRevision(name), asked)];
  const tokens = MADE_TASKS.has(name) && await listTokens(run) || [];
  const making = madeOf({ configuration, tokens, models }, request);
  const nodes = await orGiven(ZERO_SHOT, [place], making, recorded);
  return nodes.map((node) => node.name === place ? { ...node, asked } : node);
}

async function madeOf(
  subject: EvaluationOf,
  { name, settings, options, path }: AskRequest,
): Promise<Node[]> {
  const { prefix, seed } = subject.configuration;
  const isMade = MADE_TASKS.has(name);
  const { given: givenNodes, partitioner, weights, routers } = await gatherAsked(subject, isMade);
  return [...givenNodes, {
    name: `${ZERO_SHOT}/${name}`,
    needs: [TOKENIZER, ...isMade ? [ALL_TEST] : [], ...partitioner, ...weights],
    settings: { ...settings, format: ZERO_SHOT_FORMAT, prefix, seed, ...routers },
    links: { [`${ZERO_SHOT}/${name}.json`]: `${name}.json` },
    revision: askRevision(name),
    maker: oneByOne(
      ZERO_SHOT,
      (making, work) => ask(making, work, { ...subject, ...options, name, path }),
    ),
  }];
}

/**
 * Gives how a task is asked: the settings of its node, and the file of its questions. Throws an
 * `InputError` where its data are missing.
 */
export async function askedOf(
  name: string,
  options: ZeroShotOptions = {},
): Promise<Pick<AskRequest, "settings" | "options" | "path">> {
  const { mix = [], routingTemperature = null, limit = null } = options;
  const { routing = "context", resamples = RESAMPLES } = options;
  const path = MADE_TASKS.has(name) ? undefined : await findQuestions(name, options.data);
  const settings = {
    limit,
    routing,
    resamples,
    ...path === undefined ? {} : { data: (await hashFile(path)).sha256 },
    ...mix.length > 0 ? { mix, routingTemperature } : {},
  };
  return { settings, options, path };
}

/** Lists the tasks of a run: those that were asked as they were asked, and those that can be. */
export async function askRequests({ run, configuration }: GraphOf): Promise<AskRequest[]> {
  if ((await partsAlone(run)).length > 0) return [];
  const models = await askedModels(run, configuration, {});
  return await Promise.all(
    zeroShotTasks().map(async (name): Promise<AskRequest> => {
      const manifest = await readManifest(`${run}/${ZERO_SHOT}/${name}`).catch(() => null);
      if (!manifest) return { name, models };
      const { file } = manifest.result;
      const path = file === undefined ? undefined : String(file);
      return { name, models, settings: manifest.settings, path };
    }),
  );
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

async function ask(making: Making, work: Work, asking: Asking): Promise<Record<string, unknown>> {
  const { openMixture } = await import("../serving/mixture.ts");
  const { askQuestions } = await import("../evaluation/choices/score.ts");
  const { tokenizerIn } = await import("../text/tokenizer.ts");
  const { configuration, models, name, path, limit = Infinity, mix = [] } = asking;
  const { run, emit, signal } = work;
  const task = MADE_TASKS.get(name) ?? TASKS.get(name)!;
  const warn = (message: Text) => emit({ type: "warning", message });
  const { routers, prefix, seed, eos, partitioner, experts, sequenceLength: longest } =
    configuration;
  listMixes(asking, { kind: partitioner, experts }); // before questions are read
  const tokenizer = await tokenizerIn(making.path(TOKENIZER), { eos });
  const published = await readAllQuestions(making, work, asking, tokenizer);
  const bySet = Map.groupBy(published, ({ set }) => set);
  const first = new Set(bySet.values().flatMap((questions) => questions.slice(0, limit)));
  const questions = published.filter((question) => first.has(question));
  const prompts = await encodeQuestions(tokenizer, questions, longest);
  if (asking.routing !== "choice" && questions.every(({ context }) => context === "")) {
    const flag = setting("routeWithChoice");
    const fact = say`${name} has no text before its choices, so expert 0 answers all of it`;
    warn(say`${fact}: ${flag} lets choices route`);
  }
  const mixture = await openMixture({
    run,
    partitioner: routers || making.path(PARTITIONER),
    // A task without choices is continued by all experts that are mixed, so they are held together.
    models: task.metrics.includes("perplexity") ? Math.max(1, ...mix) : 1,
    gpu: await work.gpu(),
  });
  const result: ZeroShotResult = await askQuestions({
    ...asking,
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
  const asked = MADE_TASKS.get(name)!.make(cutPassages(documents, longest));
  const questions = await fittingQuestions(tokenizer, asked, longest);
  if (questions.length > 0) return questions;
  const fact = `questions must be made of the held-out text of "${run}": there is none that fits`;
  throw new NoQuestionsError(`Cannot ask ${name} as ${fact}`, {
    where: run,
    remedy: say`name ${setting("data")} and its tasks, or partition again with a larger ${
      setting("holdout")
    }`,
  });
}
