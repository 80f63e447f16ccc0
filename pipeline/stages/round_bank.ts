/**
 * Makes the rounds in which routers learn: a bank of models that stays on the device between
 * rounds. Also those in which routers of another run go on.
 *
 * @module
 */

import * as v from "valibot";
import type { Gpu } from "../../kernels/device/gpu.ts";
import { InputError, say, setting } from "../../kernels/errors.ts";
import { LEARN, type Making, TOKENIZER, TOKENIZER_FILE, type Work } from "../graph/node.ts";
import {
  loadRouters,
  type ModelFolderOptions,
  routerFolder,
  type Routers,
  routersHash,
  saveModelFolder,
} from "../model/checkpoints/checkpoint.ts";
import { decodeSafetensors, encodeSafetensors } from "../model/checkpoints/safetensors.ts";
import { loadTrainerState, saveTrainerState } from "../model/checkpoints/trainer_state.ts";
import type { Weights } from "../model/parameters.ts";
import { type ModelConfig, modelShapes } from "../model/shape.ts";
import { joinStates, sliceState, type TrainerState } from "../model/trainer.ts";
import { assignBalanced } from "../partition/assignment/balanced.ts";
import { openClusters } from "../partition/ctbm/partitioner.ts";
import {
  assignRound as assignBy,
  openRouters,
  randomAssignment,
  type RouterBank,
  type TokenColumns,
  trainRouters,
} from "../partition/em/train_routers.ts";
import { createPartitioner } from "../partition/em/partitioner.ts";
import { writeDescription } from "../partition/partitioner.ts";
import { routedLengths } from "../partition/score.ts";
import type { Columns } from "../rows/columns.ts";
import type { Rows } from "../rows/random_access.ts";
import type { RoundMetrics } from "../graph/events.ts";
import { jsonText } from "../graph/files.ts";
import { readJson, readVerified } from "../graph/schema.ts";
import type { Configuration } from "../settings/configuration.ts";
import { routedTokens } from "../settings/partitioner.ts";
import type { GraphOf } from "./stage.ts";
import {
  branchRows,
  drawing,
  type NeededFile,
  openNeeded,
  readRows,
  roundNode,
  startNode,
  TRAIN,
} from "./token_rows.ts";

const [STATE, SCORES] = ["state.safetensors", "scores.safetensors"];
const [ROUND, ROUNDS] = ["round.json", "rounds.jsonl"];

const STEPS = v.object({ trainingLoss: v.number(), rate: v.number(), steps: v.number() });

/** Sequences of a round: their tokens and their sources. */
type Drawn = Required<Pick<Columns, "rows" | "tokens" | "length" | "sequence" | "source">>;

/** Makes the routers of a round as a bank, which stays on the device for the next round. */
export class RoundBank {
  #rows?: Rows;
  #model?: ModelConfig;
  #bank?: RouterBank;
  #drawn = new Map<number, Drawn>();

  constructor(private readonly graph: GraphOf) {}

  async make(
    round: number,
    all: readonly Making[],
    work: Work,
  ): Promise<Record<string, unknown>[]> {
    const [first] = all;
    const { rounds } = this.graph.configuration;
    const routers = all.map(({ node }) => Number(node.settings.router));
    const gpu = await work.gpu();
    const rows = this.#rows ??= await branchRows(first, this.graph, TRAIN);
    if (round === 1) warnOfPasses(this.graph, rows.count, work);
    const drawn = this.#draw(rows, round);
    const { expert, metrics } = await this.#assign(first, round, drawn);
    if (metrics) work.emit({ type: "round", ...asLabel(this.graph), rounds, ...metrics });
    const bank = await this.#openBank(gpu, all, routers, round, rows);
    const onStep = (step: number, steps: number) => {
      const [done, total] = [(round - 1) * steps + step, rounds * steps];
      work.emit({ type: "progress", stage: LEARN, done, total, unit: "steps" });
    };
    const { trainingLoss, ...steps } = await bank.train(round, drawn, expert, onStep, work.signal);
    const nll = await bank.score(this.#draw(rows, round + 1));
    const state = await bank.state();
    const results = trainingLoss.map((trainingLoss) => ({ trainingLoss, ...steps }));
    for (const [place, { folder, write }] of all.entries()) {
      await saveTrainerState(`${folder}/${STATE}`, this.#model!, sliceState(state, place, 1));
      const column = { length: nll.length / all.length };
      const values = Float32Array.from(column, (_, row) => nll[row * all.length + place]);
      const scores = new Map([["nll", { shape: [values.length], values }]]);
      await write(SCORES, encodeSafetensors(scores));
      await write(ROUND, jsonText(results[place]));
      if (routers[place] === 0) {
        const earlierLines = round > 1 ? await readRoundLines(first, round - 1, this.graph) : "";
        await write(ROUNDS, earlierLines + (metrics ? JSON.stringify(metrics) + "\n" : ""));
      }
    }
    return results;
  }

  close(): void {
    this.#bank?.close();
    this.#rows?.[Symbol.dispose]();
    this.#bank = this.#rows = undefined;
    this.#drawn.clear();
  }

  #draw(rows: Rows, round: number): Drawn {
    this.#drawn.delete(round - 2);
    return this.#drawn.getOrInsertComputed(
      round,
      () => drawRound(rows, this.graph.configuration, round),
    );
  }

  /**
   * Assigns the sequences of a round by the routers of the round before, which `making` needs, and
   * measures these.
   */
  async #assign(
    making: Making,
    round: number,
    rows: Drawn,
  ): Promise<{ expert: Uint16Array; metrics?: RoundMetrics }> {
    const { experts, seed, start, fixed } = this.graph.configuration;
    const assigned = round === 1 ? undefined : await assignRound(making, this.graph, round, rows);
    if (assigned && !fixed) return assigned;
    const expert = start === "ctbm"
      ? await assignByClusters(making, startNode(this.graph), rows)
      : randomAssignment(rows.rows, experts, seed);
    return { ...assigned, expert };
  }

  async #openBank(
    gpu: Gpu,
    all: readonly Making[],
    routers: readonly number[],
    round: number,
    rows: Rows,
  ) {
    const { configuration } = this.graph;
    if (this.#bank?.round === round - 1 && String(this.#bank.routers) === String(routers)) {
      return this.#bank;
    }
    this.#bank?.close();
    const { vocabulary } = rows.lineage!;
    this.#model ??= modelShapes({ ...configuration, vocabularySize: vocabulary! }).router;
    const states = round === 1 ? [] : await Promise.all(
      all.map(({ path }, i) =>
        readState(path(roundNode(round - 1, routers[i], this.graph)), this.#model!)
      ),
    );
    const state = states.length > 0 ? joinStates(states) : undefined;
    return this.#bank = openRouters(gpu, this.#model, routers, configuration, state);
  }
}

/**
 * Draws the sequences of a round, from a random order of all of them: of each the tokens that are
 * read.
 */
function drawRound(rows: Rows, configuration: Configuration, round: number): Drawn {
  const { experts, roundSequences, seed, fixed = false } = configuration;
  const total = experts * roundSequences;
  const numbers = drawing(rows.count, seed, "rounds")((round - 1) * total, total);
  const width = routedTokens(configuration, round === 1 || fixed);
  return readRows(rows, numbers, ["sequence", "tokens", "length", "source"], width);
}

const asLabel = ({ branch }: GraphOf) => branch?.length ? { branch: branch.join(".") } : {};

function warnOfPasses(graph: GraphOf, sequences: number, { emit }: Work): void {
  const { rounds, experts, roundSequences } = graph.configuration;
  const { branch } = asLabel(graph);
  const where = branch === undefined ? "" : `branch ${branch}: `;
  if (sequences < experts) {
    const name = setting("experts");
    const rule = say`${where}there must be at least as many training sequences as ${name}`;
    throw new InputError(
      say`Cannot train routers as ${rule}: there are ${sequences}, ${name} is ${experts}`,
      { remedy: say`give more text or fewer ${name}` },
    );
  }
  const wanted = (rounds + 1) * experts * roundSequences;
  if (wanted <= sequences) return;
  const message = `${where}${rounds} rounds take ${wanted} sequences and there are ${sequences}: ` +
    "the corpus starts again in a new order";
  emit({ type: "warning", message });
}

/** Gives equal parts by clusters: sequences go to them by the paper's greedy rule. */
async function assignByClusters(
  { path }: Making,
  start: string,
  { tokens, rows, length }: Drawn,
): Promise<Uint16Array> {
  const clusters = await openClusters(path(start));
  const sequenceLength = tokens.length / rows;
  const costs = await clusters.costs({ tokens, sequenceLength, length }, [sequenceLength]);
  return assignBalanced(costs, clusters.experts);
}

/**
 * Assigns the sequences of a round by the scores of all routers after the round before, and
 * measures these routers.
 */
async function assignRound(
  { path }: Making,
  graph: GraphOf,
  round: number,
  { rows, length, source }: Drawn,
): Promise<{ expert: Uint16Array; metrics: RoundMetrics }> {
  const { configuration } = graph;
  const { experts, roundSequences } = configuration;
  const nll = new Float32Array(rows * experts);
  const steps: v.InferOutput<typeof STEPS>[] = [];
  for (let router = 0; router < experts; router++) {
    const folder = path(roundNode(round - 1, router, graph));
    const file = `${folder}/${SCORES}`;
    const { values } = decodeSafetensors(await readVerified(file), file).get("nll")!;
    for (let row = 0; row < rows; row++) nll[row * experts + router] = values[row];
    steps.push(await readJson(`${folder}/${ROUND}`, STEPS, "what a round came to"));
  }
  const { expert, measures } = assignBy(nll, { length, source }, configuration);
  return {
    expert,
    metrics: {
      round: round - 1,
      ...measures,
      trainingLoss: steps.map(({ trainingLoss }) => trainingLoss),
      rate: steps[0].rate,
      steps: steps[0].steps,
      sequences: round * experts * roundSequences,
    },
  };
}

async function readState(folder: string, model: ModelConfig): Promise<TrainerState> {
  const saved = await loadTrainerState(`${folder}/${STATE}`, model);
  if (saved) return saved.state;
  throw new InputError(`Cannot go on from "${folder}" as it must hold ${STATE}: there is none`, {
    where: folder,
  });
}

/** Reads the metrics of the rounds before this one, as lines of JSON. */
const readRoundLines = async ({ path }: Making, round: number, graph: GraphOf): Promise<string> =>
  new TextDecoder().decode(await readVerified(`${path(roundNode(round, 0, graph))}/${ROUNDS}`));

/** Puts together the routers of the last round. */
export async function joinRouters(
  making: Making,
  work: Work,
  graph: GraphOf,
): Promise<Record<string, unknown>> {
  const { configuration } = graph;
  const { experts, rounds, prefix } = configuration;
  const { folder, path } = making;
  using rows = await branchRows(making, graph, TRAIN);
  const { vocabulary, eos, tokenizer } = rows.lineage!;
  const last = drawRound(rows, configuration, rounds + 1);
  const { metrics } = await assignRound(making, graph, rounds + 1, last);
  work.emit({ type: "round", ...asLabel(graph), rounds, ...metrics });
  const lines = await readRoundLines(making, rounds, graph) + JSON.stringify(metrics) + "\n";
  await making.write(ROUNDS, lines);
  const model = modelShapes({ ...configuration, vocabularySize: vocabulary! }).router;
  const hashes: string[] = [];
  for (let router = 0; router < experts; router++) {
    const { weights: [weights] } = await readState(path(roundNode(rounds, router, graph)), model);
    hashes.push(
      await writeRouter(making, router, model, weights, { tokenizer, prefix, eos: eos! }),
    );
  }
  const tokens = { tokenizer: tokenizer!, vocabulary: vocabulary!, eos: eos! };
  await writeDescription(folder, { kind: "em", experts, prefix, ...tokens });
  return {
    routers: routersHash(hashes),
    rounds: lines.trim().split("\n").map((line) => JSON.parse(line) as RoundMetrics),
  };
}

/**
 * Writes a router into the folder of the node that is made, with the tokenizer that this needs;
 * gives the hash of its weights.
 */
async function writeRouter(
  making: Making,
  router: number,
  model: ModelConfig,
  weights: Weights,
  notes: ModelFolderOptions["notes"],
): Promise<string> {
  const name = routerFolder(router);
  const tokenizer = `${making.path(TOKENIZER)}/${TOKENIZER_FILE}`;
  const written = await saveModelFolder(`${making.folder}/${name}`, model, weights, {
    notes,
    tokenizer,
  });
  making.wrote(written, `${name}/`);
  return written["model.safetensors"].sha256;
}

const SAMPLE = 4096; // sequences by which the router to begin with is chosen

/**
 * Trains routers further, over all rounds of EM with the training sequences in some files, and
 * writes them: `fresh` ones all with the prompts of pairs, else as a new one the router that finds
 * the text likeliest.
 */
export async function trainFurther(
  making: Making,
  { gpu, emit, signal }: Work,
  configuration: Configuration,
  { path, files, fresh }: { path: string; files: readonly NeededFile[]; fresh: boolean },
): Promise<Record<string, unknown>> {
  using rows = await openNeeded(making, files);
  if (rows.count === 0) {
    const fact = fresh
      ? "train routers as there must be a pair that is not held out: there is none"
      : "add an expert as its text must hold a sequence: it holds none";
    throw new InputError(`Cannot ${fact}`);
  }
  const draw = drawing(rows.count, configuration.seed, fresh ? "prompts" : "new router");
  const names = ["sequence", "tokens", "length", ...fresh ? ["begin"] as const : []] as const;
  const read = (from: number, count: number) => {
    const columns = readRows(rows, draw(from, count), names, routedTokens(configuration, false));
    return { ...columns, length: routedLengths(columns) };
  };
  const saved = await loadRouters(path);
  const { config, models, notes } = saved;
  const sample = Math.min(SAMPLE, rows.count);
  const nearest = fresh
    ? undefined
    : await findNearest(saved, gpu, read(0, sample), configuration.prefix);
  const startModels = nearest === undefined ? models : [models[nearest]];
  let drawn = 0;
  const trained = await trainRouters({
    ...configuration,
    gpu: await gpu(),
    model: config,
    models: startModels,
    experts: startModels.length,
    signal,
    next: (count) => {
      drawn += count;
      return Promise.resolve(read(drawn - count, count));
    },
    onRound: ({ round }) =>
      emit({
        type: "progress",
        stage: LEARN,
        done: round,
        total: configuration.rounds,
        unit: "rounds",
      }),
  });
  const hashes: string[] = [];
  for (const [router, weights] of trained.entries()) {
    hashes.push(await writeRouter(making, router, config, weights, { ...notes, eos: notes.eos! }));
  }
  return nearest === undefined ? { routers: routersHash(hashes) } : { nearest };
}

/** Finds the router that some sequences cost least. */
async function findNearest(
  routers: Routers,
  gpu: Work["gpu"],
  { tokens, rows, length }: TokenColumns,
  prefix: number,
): Promise<number> {
  const partitioner = createPartitioner(routers, gpu);
  const sums = new Array<number>(partitioner.experts).fill(0);
  const costs = await partitioner.costs({ tokens, length, sequenceLength: tokens.length / rows }, [
    prefix,
  ]);
  partitioner.close();
  costs.forEach((nll, i) => sums[i % sums.length] += nll);
  return sums.indexOf(Math.min(...sums));
}
