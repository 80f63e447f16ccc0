/**
 * Self-routing: the experts of a run score the prefix themselves, as large routers would. The
 * experts are trained already, so this partitioner can only route.
 *
 * Its folder is the `experts` folder of a run, with the Hugging Face folders `expert-00/` … An
 * expert may be large: only one is on the device at a time, and each is read again for every call.
 */

import { dirname } from "node:path";
import { InputError } from "../../kernels/errors.ts";
import type { Gpu } from "../../kernels/device/gpu.ts";
import { loadCheckpoint, routersHash } from "../model/checkpoints/checkpoint.ts";
import { loadCheckpointConfig } from "../model/checkpoints/hugging_face_config.ts";
import { readRunConfiguration } from "../graph/configuration.ts";
import { shortHash } from "../graph/files.ts";
import { createPartitioner, modelHashes } from "./em/partitioner.ts";
import { expertFolder } from "../graph/node.ts";
import type { OpenOptions, Partitioner, PartitionerWork } from "./partitioner.ts";

/** Opens and identifies the experts of a run as routers. */
export const self: PartitionerWork = {
  open: openExperts,
  async identify(folder) {
    const hashes = await modelHashes(folder, await namesIn(folder));
    if (hashes.length > 0) return { sha256: routersHash(hashes), experts: hashes.length };
    throw new InputError(
      `Cannot route by "${folder}" as it must hold trained experts: it holds none`,
      {
        where: folder,
      },
    );
  },
};

/** Names the folders of a run's experts by their number. */
async function namesIn(folder: string): Promise<(expert: number) => string> {
  const { configuration } = await readRunConfiguration(dirname(folder), { edited: true }) ?? {};
  return (expert) => expertFolder(expert, configuration?.experts ?? 0);
}

/**
 * Opens trained experts from their folder; they may differ in shape. Throws an `InputError` where
 * there is none, or they differ in tokens: tokenizer, vocabulary or context.
 */
async function openExperts(
  folder: string,
  device: () => Promise<Gpu>,
  { batch }: OpenOptions = {},
): Promise<Partitioner> {
  const { sha256, experts } = await self.identify(folder);
  const name = await namesIn(folder);
  const folders = Array.from({ length: experts }, (_, expert) => `${folder}/${name(expert)}`);
  const opened = await Promise.all(folders.map((expert) => loadCheckpointConfig(expert)));
  const [{ config, notes: { tokenizer, eos } }] = opened;
  for (const [expert, opening] of opened.entries()) {
    const facts = [
      ["tokenizer", tokenizer, opening.notes.tokenizer],
      ["vocabulary", config.vocabulary, opening.config.vocabulary],
      ["context", config.context, opening.config.context],
    ] as const;
    for (const [name, first, fact] of facts) {
      if (fact === undefined || first === undefined || fact === first) continue;
      const [former, latter] = [first, fact].map((value) => shortHash(String(value)));
      throw new InputError(
        `Cannot route by "${folder}" as its experts must have one tokenizer, ` +
          "vocabulary and context: " +
          `${name} is ${former} for expert 0, ${latter} for expert ${expert}`,
        { where: folders[expert] },
      );
    }
  }

  const costs: Partitioner["costs"] = async (rows, prefixes, signal) => {
    const result = new Float32Array(prefixes.length * rows.length.length * experts);
    for (const [expert, where] of folders.entries()) {
      const { weights, ...checkpoint } = await loadCheckpoint(where);
      const router = createPartitioner({ ...checkpoint, models: [weights] }, device, { batch });
      try {
        const nll = await router.costs(rows, prefixes, signal);
        nll.forEach((value, i) => result[i * experts + expert] = value);
      } finally {
        router.close();
      }
    }
    return result;
  };

  const isAlike = opened.every((checkpoint) =>
    JSON.stringify(checkpoint.config) === JSON.stringify(config)
  );
  return {
    kind: "self",
    experts,
    sha256,
    prefix: config.context,
    vocabulary: config.vocabulary,
    tokenizer,
    eos,
    shape: isAlike ? config : undefined,
    costs,
    close() {},
  };
}
