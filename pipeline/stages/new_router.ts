/**
 * The routers of a run that derives from another one and has more or fewer experts. A new one begins with the weights of the router that finds
 * the added text likeliest, and learns that text alone. The others stay as they are: a sequence's likelihood under one of them depends on no
 * other.
 *
 *     branches/new/    the new router
 *     partitioner/     those of before, and new ones
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
import { partitionerNode } from "./token_rows.ts";
import { type Derivation, findReshaping } from "./derivation.ts";
import { LEARN } from "./learn.ts";
import { drawing, openNeeded, readRows } from "./token_rows.ts";
import { trainFiles } from "./tokenize.ts";

const SAMPLE = 4096; // sequences by which the router to begin with is chosen
const NAMES = ["sequence", "tokens", "length"] as const;

const NEW = "branches/new";

/** Makes the node of the routers: those of before that stay, under their numbers of now, and those that are new. */
export function routersNode(derivation: Derivation): Node {
  const { kept, partitioner, origins } = derivation, { isNew, split } = findReshaping(derivation);
  const learned = isNew ? NEW : split && partitionerNode(split);
  return {
    name: PARTITIONER,
    needs: learned === undefined ? [] : [learned],
    settings: { kept: kept[partitioner], origins },
    revision: 1,
    maker: oneByOne(LEARN, async (making) => {
      const before = await nodeBefore(derivation, partitioner), hashes: string[] = [];
      let own = 0;
      for (const [router, origin] of origins.entries()) {
        const isOwn = origin === null || origin === split?.path[0];
        const from = isOwn ? { path: making.path(learned!), manifest: making.manifest(learned!) } : before;
        const name = `${routerFolder(isOwn ? own++ : origin)}/`,
          files = Object.entries(from.manifest.files)
            .flatMap(([file, note]) =>
              file.startsWith(name) ? [[file.slice(name.length), note] as const] : []
            );
        await linkFiles(
          making,
          from.path + "/" + name,
          Object.fromEntries(files),
          `${routerFolder(router)}/`,
        );
        hashes.push(from.manifest.files[`${name}model.safetensors`].sha256);
      }
      const known = (await readDescription(before.path))!;
      await writeDescription(making.folder, { ...known, experts: origins.length });
      return { ...before.manifest.result, routers: routersHash(hashes) };
    }),
  };
}

/** Makes the node of a router that learns the text of `blocks`. */
export function newRouterNode(
  configuration: Configuration,
  derivation: Derivation,
  blocks: readonly Block[],
): Node {
  const { rounds, roundSequences, routerBatch, routerRate, routerWarmup, prefix, seed } = configuration;
  return {
    name: NEW,
    needs: [TOKENIZER, ...trainFiles(blocks).map(({ need, file }) => `${need}:${file}`)],
    settings: {
      ...{ kept: derivation.kept[derivation.partitioner], rounds, roundSequences },
      ...{ routerBatch, routerRate, routerWarmup, prefix, seed },
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
  const { path } = await nodeBefore(derivation, derivation.partitioner);
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
    const { weights: [weights] } = await bank.state(), name = routerFolder(0);
    const written = await saveModelFolder(`${making.folder}/${name}`, config, weights, {
      notes: { ...notes, eos: notes.eos! },
      tokenizer: `${making.path(TOKENIZER)}/${TOKENIZER_FILE}`,
    });
    noteAll(making, written, `${name}/`);
    return { nearest };
  } finally {
    bank.close();
  }
}
