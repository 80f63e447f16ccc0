/**
 * The graph of a run that derives from another one. What nothing has changed is linked from there; of a block that lost documents the rows of
 * the others stay as they are; text that is added gets blocks of its own, which go through the stages of every run. So what is made of
 * unchanged rows has the bytes, and the key, that it has there.
 *
 * A new router begins with the weights of the one that finds the added text likeliest, and learns that text alone. The others stay as they are:
 * a sequence's likelihood under one of them depends on no other.
 *
 * Models are tuned on pairs of a prompt and its response: JSON lines with `prompt` and `response`, or with `messages` of which the last one is
 * the response.
 *
 *     branches/new/    the new router
 *     text/pairs/      the pairs, as text that says how much of it is the prompt
 *
 * @module
 */

import { InputError } from "../../kernels/errors.ts";
import { routerFolder, routersHash } from "../model/checkpoints/checkpoint.ts";
import { linkFiles } from "../graph/folder.ts";
import {
  givenNode,
  LEARN,
  type Node,
  oneByOne,
  PARTITIONER,
  SCORE,
  TOKENIZE,
  TOKENIZER,
} from "../graph/node.ts";
import { readDescription, writeDescription } from "../partition/partitioner.ts";
import { hashFile, oneLine, sha256 } from "../graph/files.ts";
import { isObject } from "../graph/schema.ts";
import type { Configuration } from "../settings/configuration.ts";
import { type Block, parseBlockId } from "../text/blocks.ts";
import { type InputFile, listInputs } from "../text/inputs.ts";
import { type Document, readRecords } from "../text/readers.ts";
import { assignNodes } from "../stages/assign.ts";
import { derivedAssignment, dividedNodes } from "../stages/assign_derived.ts";
import {
  beforeNodes,
  type Derivation,
  keptNode,
  nodeBefore,
  openBefore,
  tokenizerBefore,
} from "../stages/derivation.ts";
import {
  DOCUMENTS,
  partitionerNode,
  readDocumentRows,
  rowBatches,
  scoresNode,
  TEST,
  tokensNode,
  TRAIN,
  writeRows,
} from "../stages/token_rows.ts";
import { indexNode, partIndexNode, recordedText, toBlock } from "../stages/documents.ts";
import { namesNode, splitNodes } from "../stages/split.ts";
import { trainFurther } from "../stages/round_bank.ts";
import { scoreNodes } from "../stages/score.ts";
import { type GraphOf, STAGES, stagesAdded } from "../stages/stages.ts";
import { linesNode, lookAtText, type Text, textIn } from "../stages/text.ts";
import {
  COLUMNS as DOCUMENT_COLUMNS,
  ROWS,
  sequencesNode,
  tokenizeNodes,
  trainFiles,
  writeDocumentTable,
} from "../stages/tokenize.ts";

const PAIRS = "text/pairs";

/** Gives the text of a run of pairs; with `recorded` what was made of the files, which may be gone. */
async function pairsText(
  run: string,
  { blockBytes }: Configuration,
  { change: { added }, template }: Derivation,
  recorded: boolean,
): Promise<Text> {
  if (recorded) return await textIn(run, givenNode(PAIRS), blockBytes);
  const { files } = await listInputs(added, { format: "jsonl" });
  const hashes = await Promise.all(files.map(async ({ path }) => (await hashFile(path)).sha256));
  const node = linesNode(PAIRS, { pairs: hashes, template }, blockBytes, () => readPairs(files, template));
  return await textIn(run, node, blockBytes);
}

/** Reads pairs as documents. Throws an `InputError` for a line that is none. */
export async function* readPairs(files: readonly InputFile[], template: string): AsyncGenerator<Document> {
  const write = await openTemplate(template);
  for (const file of files) {
    for await (
      const { record, place } of readRecords(file.path, /\.parquet$/i.test(file.path) ? undefined : file)
    ) {
      const { prompt, response, source = "" } = "messages" in record
        ? fromMessages(record.messages, write)
        : record;
      const wrong = Object.entries({ prompt, response }).find(([, value]) =>
        typeof value !== "string" || value === ""
      );
      if (wrong) {
        const rule =
          `every line must have texts "prompt" and "response", or "messages" that end with an assistant's`;
        throw new InputError(`Cannot read pairs as ${rule}: ${place}, has no ${wrong[0]}`, {
          where: file.path,
        });
      }
      yield { text: `${prompt}${response}`, prompt: String(prompt).length, source: String(source) };
    }
  }
}

/** Takes the last message as the response, and writes those before it as a prompt. */
function fromMessages(messages: unknown, write: (messages: unknown[]) => string): Record<string, unknown> {
  const all = Array.isArray(messages) ? messages.filter(isObject) : [];
  const last = all.at(-1), before = all.slice(0, -1);
  return last?.role === "assistant" && before.length > 0
    ? { prompt: write(before), response: last.content }
    : {};
}

/** Opens a chat template, which writes messages as a server does; as text has no special tokens, it must write none. */
async function openTemplate(source: string): Promise<(messages: unknown[]) => string> {
  const { Template } = await import("@huggingface/jinja"), token = "\uE000";
  const refuse = (fact: string, cause?: unknown) =>
    new InputError(`Cannot read pairs as the chat template must write messages as text: ${fact}`, { cause });
  const attempt = <Value>(work: () => Value): Value => {
    try {
      return work();
    } catch (error) {
      throw refuse(`it reports "${oneLine(error)}"`, error);
    }
  };
  const template = attempt(() => new Template(source)), special = { eos_token: token, bos_token: token };
  return (messages) => {
    const text = attempt(() => template.render({ messages, add_generation_prompt: true, ...special }));
    if (text.includes(token)) throw refuse("it writes special tokens");
    return text;
  };
}

/** Gives the text of a derived run: the blocks of the other run, and those of text that is added. */
export async function derivedText(
  run: string,
  configuration: Configuration,
  derivation: Derivation,
  options: { keep: boolean; check: boolean; recorded: boolean },
): Promise<Text> {
  const { blocks, change: { added, tuned } } = derivation;
  if (tuned) return await pairsText(run, configuration, derivation, options.recorded);
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
  const { change: { tuned, fresh, newExpert, split, forgotten }, grouped, renumbered } = derivation;
  const { away } = derivation, blocks = text.blocks!, count = tuned ? 0 : derivation.blocks.length;
  const [before, more] = [blocks.slice(0, count), blocks.slice(count)];
  const own = { ...configuration, routers: "", prices: "" };
  const of: GraphOf = { configuration: own, text, blocks, ...tuned ? { prompts: true } : { grouped }, away };
  const added = { ...of, blocks: more };
  const ids = forgotten.map(({ document }) => BigInt(document));
  const idsByBlock = Map.groupBy(ids, (id) => Number(id >> 24n));
  const keepBlock = (stage: keyof typeof COLUMNS, name: string, block: Block) => {
    const ids = idsByBlock.get(parseBlockId(block.name));
    return ids ? filteredNode(stage, name, new Set(ids), derivation) : keptNode(stage, name, derivation);
  };
  const nodes = [
    ...text.unpacked,
    tokenizerBefore(derivation),
    ...before.map((block) => keepBlock(TOKENIZE, tokensNode(block), block)),
    ...tokenizeNodes(added),
    ...[sequencesNode(of), indexNode(of)],
    ...fresh || newExpert ? [learnedNode(configuration, derivation, more)] : [],
    ...split === null ? [] : await dividedNodes(of, derivation, [split]),
    ...renumbered ? [routersNode(derivation)] : [],
    ...renumbered || fresh
      ? []
      : [keptNode(LEARN, PARTITIONER, derivation, { where: derivation.partitioner })],
    ...renumbered ? [] : before.map((block) => keepBlock(SCORE, scoresNode(block), block)),
    ...await scoreNodes(renumbered ? of : added),
    ...tuned ? await assignNodes(of) : [derivedAssignment(of, derivation, before)],
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
        const all = rows.numbers(), { document } = rows.read(all, ["document"]);
        const left = all.filter((row) => !ids.has(document[row]));
        counts.push(await writeRows(making, file, rowBatches(rows, COLUMNS[stage], ROWS, left)));
      }
      const [trainSequences, testSequences] = counts, sides = { ...result, trainSequences, testSequences };
      if (stage === SCORE) return { ...sides, sequences: trainSequences + testSequences };
      const documents = await Array.fromAsync(readDocumentRows(`${path}/${DOCUMENTS}`, DOCUMENT_COLUMNS));
      const stay = documents.filter(({ document }) => !ids.has(document));
      return { ...sides, ...await writeDocumentTable(making, stay) };
    }),
  };
}

const NEW = "branches/new";

/** Makes the node of the routers: those of before that stay, under their numbers of now, and those that are new. */
function routersNode(derivation: Derivation): Node {
  const { kept, partitioner, change: { newExpert, split } } = derivation;
  const origins = derivation.experts.map(({ was }) => was);
  const learned = newExpert ? NEW : split === null ? undefined : partitionerNode([split]);
  return {
    name: PARTITIONER,
    needs: learned === undefined ? [] : [learned],
    settings: { kept: kept[partitioner], origins },
    revision: 1,
    maker: oneByOne(LEARN, async (making) => {
      const before = await nodeBefore(derivation, partitioner), hashes: string[] = [];
      let next = 0;
      for (const [router, origin] of origins.entries()) {
        const isOwn = origin === null || origin === split;
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
  const { change: { fresh }, partitioner } = derivation;
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
      const learned = await trainFurther(making, work, configuration, {
        path,
        files: trainFiles(blocks),
        fresh,
      });
      if (!fresh) return learned;
      await writeDescription(making.folder, (await readDescription(path))!);
      return { ...manifest.result, ...learned };
    }),
  };
}
