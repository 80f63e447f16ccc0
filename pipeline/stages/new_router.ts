/**
 * A router more for a run that derives from another one: it begins with the weights of the router that finds the added text likeliest, and learns
 * that text alone. The other routers stay as they are: a sequence's likelihood under one of them depends on no other.
 *
 * @module
 */

import { InputError } from "../../kernels/errors.ts";
import { loadRouters, routerFolder, routersHash } from "../checkpoints/routers.ts";
import { saveModelFolder } from "../checkpoints/checkpoint.ts";
import { linkFiles } from "../graph/folder.ts";
import {
  type Making,
  type Node,
  noteAll,
  oneByOne,
  PARTITIONER,
  TOKENIZER,
  TOKENIZER_FILE,
  type Work,
} from "../graph/node.ts";
import { openRouters } from "../partition/em/bank.ts";
import { createPartitioner } from "../partition/em/partitioner.ts";
import { readDescription, writeDescription } from "../partition/partitioner.ts";
import type { Configuration } from "../settings/configuration.ts";
import type { Block } from "../text/blocks.ts";
import { nodeBefore } from "./before.ts";
import type { Derivation } from "./derivation.ts";
import { LEARN } from "./learn.ts";
import { drawing, openNeeded, readRows } from "./token_rows.ts";
import { trainFiles } from "./tokenize.ts";

const SAMPLE = 4096; // sequences by which the router to begin with is chosen
const NAMES = ["sequence", "tokens", "length"] as const;

/** Makes the node of the routers: those of before, and one that learns the text of `blocks`. */
export function newRouterNode(
  configuration: Configuration,
  derivation: Derivation,
  blocks: readonly Block[],
): Node {
  const { rounds, roundSequences, routerBatch, routerRate, routerWarmup, prefix, seed } = configuration;
  return {
    name: PARTITIONER,
    needs: [TOKENIZER, ...trainFiles(blocks).map(({ need, file }) => `${need}:${file}`)],
    settings: {
      ...{
        kept: derivation.kept[derivation.partitioner],
        rounds,
        roundSequences,
        routerBatch,
        routerRate,
        routerWarmup,
        prefix,
        seed,
      },
    },
    revision: 1,
    maker: oneByOne(LEARN, (making, work) => addRouter(making, work, configuration, derivation, blocks)),
  };
}

async function addRouter(
  making: Making,
  { gpu: open, emit, signal }: Work,
  configuration: Configuration,
  derivation: Derivation,
  blocks: readonly Block[],
): Promise<Record<string, unknown>> {
  const { rounds, roundSequences, seed, prefix } = configuration;
  const { path, manifest: { files, result } } = await nodeBefore(derivation, derivation.partitioner);
  using rows = await openNeeded(making, trainFiles(blocks));
  if (rows.count === 0) {
    throw new InputError("Cannot add an expert as its text must hold a sequence: it holds none");
  }
  const routers = await loadRouters(path), gpu = await open(), { config, notes, models } = routers;
  const partitioner = createPartitioner(routers, open);
  const sample = readRows(
    rows,
    drawing(rows.count, seed, "new router")(0, Math.min(SAMPLE, rows.count)),
    NAMES,
  );
  const costs = await partitioner.costs({ ...sample, sequenceLength: sample.tokens.length / sample.rows }, [
    prefix,
  ]);
  partitioner.close();
  const sums = models.map((_, router) =>
    costs.reduce((sum, nll, i) => i % models.length === router ? sum + nll : sum, 0)
  );
  const nearest = sums.indexOf(Math.min(...sums));
  const bank = openRouters(gpu, config, [0], { ...configuration, experts: 1 }, [models[nearest]]);
  const draw = drawing(rows.count, seed, "new router");
  try {
    for (let round = 1; round <= rounds; round++) {
      const drawn = readRows(rows, draw((round - 1) * roundSequences, roundSequences), NAMES);
      await bank.train(round, drawn, new Uint16Array(drawn.rows), undefined, signal);
      emit({ type: "progress", stage: LEARN, done: round, total: rounds, unit: "rounds" });
    }
    const { weights: [weights] } = await bank.state(), name = routerFolder(models.length);
    const ofRouters = Object.entries(files).filter(([file]) => file.startsWith("router-"));
    await linkFiles(making, path, Object.fromEntries(ofRouters));
    const tokenizer = `${making.path(TOKENIZER)}/${TOKENIZER_FILE}`;
    const written = await saveModelFolder(`${making.folder}/${name}`, config, weights, {
      notes: { ...notes, eos: notes.eos! },
      tokenizer,
    });
    noteAll(making, written, `${name}/`);
    const hashes = models.map((_, router) => files[`${routerFolder(router)}/model.safetensors`].sha256);
    const known = (await readDescription(path))!;
    await writeDescription(making.folder, { ...known, experts: models.length + 1 });
    const all = routersHash([...hashes, written["model.safetensors"].sha256]);
    return { ...result, routers: all, nearest };
  } finally {
    bank.close();
  }
}
