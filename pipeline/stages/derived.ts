/**
 * The graph of a run that derives from another one. What nothing has changed is linked from there; of a block that lost documents the rows of
 * the others stay as they are; text that is added gets blocks of its own, which go through the stages of every run. So what is made of
 * unchanged rows has the bytes, and the key, that it has there.
 *
 * A new router begins with the weights of the one that finds the added text likeliest, and learns that text alone. The others stay as they are:
 * a sequence's likelihood under one of them depends on no other.
 *
 *     branches/new/    the new router
 *
 * @module
 */

import { InputError } from "../../kernels/errors.ts";
import { loadRouters, routerFolder, type Routers, routersHash } from "../checkpoints/checkpoint.ts";
import { linkFiles } from "../graph/folder.ts";
import {
  LEARN,
  type Making,
  type Node,
  oneByOne,
  PARTITIONER,
  SCORE,
  TOKENIZE,
  TOKENIZER,
  type Work,
} from "../graph/node.ts";
import { assignRound, openRouters, type TokenColumns } from "../partition/em/train_routers.ts";
import { createPartitioner } from "../partition/em/partitioner.ts";
import { readDescription, writeDescription } from "../partition/partitioner.ts";
import { routedLengths } from "../partition/score.ts";
import { sha256 } from "../run/files.ts";
import type { Configuration } from "../settings/configuration.ts";
import type { Block } from "../text/blocks.ts";
import { assignNodes } from "./assign.ts";
import { derivedAssignment, dividedNodes } from "./assign_derived.ts";
import {
  beforeNodes,
  type Derivation,
  findForgotten,
  findReshaping,
  keptNode,
  nodeBefore,
  openBefore,
  rowsLeft,
  tokenizerBefore,
} from "./derivation.ts";
import {
  DOCUMENTS,
  drawing,
  openNeeded,
  partitionerNode,
  readDocumentRows,
  readRows,
  rowBatches,
  scoresNode,
  TEST,
  tokensNode,
  TRAIN,
  writeRows,
} from "./token_rows.ts";
import { indexNode, partIndexNode, recordedText, toBlock } from "./documents.ts";
import { namesNode, splitNodes } from "./split.ts";
import { pairsText } from "./pairs.ts";
import { writeRouter } from "./round_bank.ts";
import { scoreNodes } from "./score.ts";
import { type GraphOf, STAGES, stagesAdded } from "./stages.ts";
import { lookAtText, type Text } from "./text.ts";
import {
  addSource,
  byName,
  COLUMNS as DOCUMENT_COLUMNS,
  ROWS,
  sequencesNode,
  type SourceCounts,
  tokenizeNodes,
  trainFiles,
  writeDocumentTable,
} from "./tokenize.ts";

/** Gives the text of a derived run: the blocks of the other run, and those of text that is added. */
export async function derivedText(
  run: string,
  configuration: Configuration,
  derivation: Derivation,
  options: { keep: boolean; check: boolean; recorded: boolean },
): Promise<Text> {
  const { blocks, added } = derivation;
  if (derivation.tuned) return await pairsText(run, configuration, derivation, options.recorded);
  const before = blocks.map(toBlock),
    own = added.length > 0 ? { ...configuration, input: added } : configuration;
  if (options.recorded || added.length === 0) {
    const text = await recordedText(run, own);
    return { ...text, blocks: text.blocks ?? before };
  }
  const text = await lookAtText(run, own, {}, { ...options, others: before });
  return { ...text, blocks: text.blocks && [...before, ...text.blocks] };
}

/** Lists the nodes of a derived run whose text is known. The text of one whose models are tuned are pairs alone. */
export async function derivedNodes(
  configuration: Configuration,
  derivation: Derivation,
  text: Text,
): Promise<Node[]> {
  const { tuned, fresh, partitioner, grouped } = derivation,
    { same, isNew, split } = findReshaping(derivation);
  const blocks = text.blocks!, count = tuned ? 0 : derivation.blocks.length;
  const [before, more] = [blocks.slice(0, count), blocks.slice(count)];
  const own = { ...configuration, routers: "", prices: "" }, forgottenIn = findForgotten(derivation);
  const of: GraphOf = { configuration: own, text, blocks, ...tuned ? { prompts: true } : { grouped } };
  const added = { ...of, blocks: more };
  const keepBlock = (stage: keyof typeof COLUMNS, name: string, block: Block) => {
    const ids = forgottenIn(block);
    return ids.size === 0
      ? keptNode(stage, name, derivation)
      : filteredNode(stage, name, block, ids, derivation);
  };
  const nodes = [
    ...text.unpacked,
    tokenizerBefore(derivation),
    ...before.map((block) => keepBlock(TOKENIZE, tokensNode(block), block)),
    ...tokenizeNodes(added),
    ...[sequencesNode(of), indexNode(of)],
    ...isNew ? [learnedNode(configuration, derivation, more)] : [],
    ...split ? await dividedNodes(of, derivation, split) : [],
    fresh
      ? learnedNode(configuration, derivation, more)
      : same
      ? keptNode(LEARN, PARTITIONER, derivation, { where: partitioner })
      : routersNode(derivation),
    ...same ? before.map((block) => keepBlock(SCORE, scoresNode(block), block)) : [],
    ...await scoreNodes(same ? added : of),
    ...tuned ? await assignNodes(of) : [derivedAssignment(of, derivation, before, more)],
    ...splitNodes(of),
    ...[partIndexNode(of), namesNode(of)],
    ...beforeNodes(derivation),
  ];
  for (const name of stagesAdded()) nodes.push(...await STAGES.get(name)!.nodes?.(of) ?? []);
  return nodes;
}

/** Columns of a block's tokens and scores. */
const COLUMNS = {
  [TOKENIZE]: ["sequence", "document", "source", "tokens", "length"],
  [SCORE]: ["sequence", "document", "source", "length", "nll"],
} as const;

/** Makes the node of the tokens or the scores of a block without the rows of documents that are forgotten. */
function filteredNode(
  stage: keyof typeof COLUMNS,
  name: string,
  block: Block,
  ids: ReadonlySet<bigint>,
  derivation: Derivation,
): Node {
  return {
    name,
    needs: [],
    settings: { kept: derivation.kept[name], forgotten: sha256([...ids].sort().join()) },
    revision: 1,
    maker: oneByOne(stage, async (making) => {
      const { path, manifest: { result } } = await nodeBefore(derivation, name);
      const counts: number[] = [];
      for (const file of [TRAIN, TEST]) {
        using rows = await openBefore(derivation, name, file);
        const left = await rowsLeft(derivation, block, file, ids);
        counts.push(await writeRows(making, file, rowBatches(rows, COLUMNS[stage], ROWS, left)));
      }
      const [trainSequences, testSequences] = counts, sides = { ...result, trainSequences, testSequences };
      if (stage === SCORE) return { ...sides, sequences: trainSequences + testSequences };
      return { ...sides, ...await keepDocuments(making, path, ids) };
    }),
  };
}

/** Writes the table of a block's documents without those that are forgotten, and counts them. */
async function keepDocuments(making: Making, before: string, ids: ReadonlySet<bigint>) {
  const rows = await Array.fromAsync(readDocumentRows(`${before}/${DOCUMENTS}`, DOCUMENT_COLUMNS));
  const left = rows.filter(({ document }) => !ids.has(document));
  await writeDocumentTable(making, left);
  const sources = new Map<string, SourceCounts>();
  for (const { source, side, tokens } of left) addSource(sources, source, side, 1, tokens);
  const tokens = left.reduce((sum, { tokens }) => sum + tokens, 0);
  return { documents: left.length, tokens, sources: byName(sources) };
}

const SAMPLE = 4096; // sequences by which the router to begin with is chosen
const NAMES = ["sequence", "tokens", "length"] as const;

const NEW = "branches/new";

/** Makes the node of the routers: those of before that stay, under their numbers of now, and those that are new. */
function routersNode(derivation: Derivation): Node {
  const { kept, partitioner, origins } = derivation, { isNew, split } = findReshaping(derivation);
  const learned = isNew ? NEW : split && partitionerNode(split);
  return {
    name: PARTITIONER,
    needs: learned === undefined ? [] : [learned],
    settings: { kept: kept[partitioner], origins },
    revision: 1,
    maker: oneByOne(LEARN, async (making) => {
      const before = await nodeBefore(derivation, partitioner), hashes: string[] = [];
      let next = 0;
      for (const [router, origin] of origins.entries()) {
        const isOwn = origin === null || origin === split?.[0];
        const { path, manifest } = isOwn
          ? { path: making.path(learned!), manifest: making.manifest(learned!) }
          : before;
        const start = `${routerFolder(isOwn ? next++ : origin)}/`;
        const names = Object.keys(manifest.files).filter((file) => file.startsWith(start));
        const files = Object.fromEntries(
          names.map((file) => [file.slice(start.length), manifest.files[file]]),
        );
        await linkFiles(making, `${path}/${start}`, files, `${routerFolder(router)}/`);
        hashes.push(files["model.safetensors"].sha256);
      }
      const known = (await readDescription(before.path))!;
      await writeDescription(making.folder, { ...known, experts: origins.length });
      return { ...before.manifest.result, routers: routersHash(hashes) };
    }),
  };
}

/**
 * Makes the node of routers that go on from those of the other run with the text of `blocks`: all with the prompts of pairs, or as a new one
 * the router that finds it likeliest.
 */
function learnedNode(
  configuration: Configuration,
  derivation: Derivation,
  blocks: readonly Block[],
): Node {
  const { fresh, partitioner } = derivation;
  const { rounds, roundSequences, routerBatch, routerRate, routerWarmup, prefix, seed } = configuration;
  return {
    name: fresh ? PARTITIONER : NEW,
    needs: [TOKENIZER, ...trainFiles(blocks).map(({ need, file }) => `${need}:${file}`)],
    settings: {
      ...{ kept: derivation.kept[partitioner], rounds, roundSequences },
      ...{ routerBatch, routerRate, routerWarmup, prefix, seed },
    },
    revision: 1,
    maker: oneByOne(LEARN, async (making, work) => {
      const { path, manifest } = await nodeBefore(derivation, partitioner);
      using rows = await openNeeded(making, trainFiles(blocks));
      if (rows.count === 0) {
        const what = fresh
          ? "train routers as there must be a pair that is not held out: there is none"
          : "add an expert as its text must hold a sequence: it holds none";
        throw new InputError(`Cannot ${what}`);
      }
      const draw = drawing(rows.count, seed, fresh ? "prompts" : "new router");
      const next = (from: number, count: number) => {
        const drawn = readRows(rows, draw(from, count), fresh ? [...NAMES, "begin"] : NAMES);
        return { ...drawn, length: routedLengths(drawn) };
      };
      const routers = await loadRouters(path);
      if (fresh) {
        const hashes = await trainFurther(making, work, configuration, routers, next);
        await writeDescription(making.folder, (await readDescription(path))!);
        return { ...manifest.result, routers: routersHash(hashes) };
      }
      const nearest = await findNearest(routers, work, next(0, Math.min(SAMPLE, rows.count)), prefix);
      await trainFurther(
        making,
        work,
        configuration,
        { ...routers, models: [routers.models[nearest]] },
        next,
      );
      return { nearest };
    }),
  };
}

/** Finds the router that some sequences cost least. */
async function findNearest(
  routers: Routers,
  { gpu }: Work,
  { tokens, rows, length }: TokenColumns,
  prefix: number,
): Promise<number> {
  const partitioner = createPartitioner(routers, gpu), { experts } = partitioner;
  const costs = await partitioner.costs({ tokens, length, sequenceLength: tokens.length / rows }, [prefix]);
  partitioner.close();
  const sums = Array.from(
    { length: experts },
    (_, router) => costs.filter((_, i) => i % experts === router).reduce((a, b) => a + b),
  );
  return sums.indexOf(Math.min(...sums));
}

/** Trains routers from their weights over all rounds of EM, each on its part of the sequences that `next` gives, and writes them. */
async function trainFurther(
  making: Making,
  { gpu, emit, signal }: Work,
  { rounds, roundSequences, prefix, ...settings }: Configuration,
  { config, notes, models }: Routers,
  next: (from: number, count: number) => TokenColumns,
): Promise<string[]> {
  const experts = models.length, count = experts * roundSequences;
  const own = { ...settings, roundSequences, prefix, experts };
  const bank = openRouters(await gpu(), config, [...models.keys()], own, models);
  try {
    for (let round = 1; round <= rounds; round++) {
      const drawn = next((round - 1) * count, count);
      const { expert } = experts === 1
        ? { expert: new Uint16Array(count) }
        : assignRound(await bank.score(drawn), drawn, { experts, prefix });
      await bank.train(round, drawn, expert, undefined, signal);
      emit({ type: "progress", stage: LEARN, done: round, total: rounds, unit: "rounds" });
    }
    const hashes: string[] = [];
    for (const [router, weights] of (await bank.state()).weights.entries()) {
      hashes.push(await writeRouter(making, router, config, weights, { ...notes, eos: notes.eos! }));
    }
    return hashes;
  } finally {
    bank.close();
  }
}
