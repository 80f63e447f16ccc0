/**
 * The node of an expert that another trainer made: its checkpoint becomes the expert's folder.
 *
 * @module
 */

import { task } from "../../kernels/errors.ts";
import {
  GIVEN,
  givenNode,
  hashFiles,
  type Node,
  oneByOne,
  readManifest,
  TOKENIZER,
} from "../graph/node.ts";
import type { Checkpoint } from "../model/checkpoints/hugging_face_config.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { type Adoption, describeAdoption } from "../training/adoption.ts";
import type { GraphOf } from "./stage.ts";
import { expertTarget } from "./targets.ts";
import { trainStage } from "./train.ts";

/** Name of the stage. */
export const ADOPT = "adopt";

/** An expert, and the checkpoint that it becomes; without one it stays as it lies in the run. */
export interface AdoptRequest {
  /** The expert. */
  expert: number;
  /** What is adopted, and from where. */
  checkpoint?: Checkpoint & { tokenizer: Tokenizer; adopted: Adoption };
}

/** Lists the node of an adopted expert, after those that it needs. */
export function adoptNodes(
  { run, configuration }: GraphOf,
  { expert, checkpoint }: AdoptRequest,
): Node[] {
  const target = expertTarget(expert, configuration);
  const { node: name, part = "", path, command } = target;
  const asked = {
    name: trainStage(target),
    command: task(command.task, { run, ...command.with }),
    optional: false,
    path,
  };
  if (!checkpoint) return [{ ...givenNode(name), asked, maker: { ...GIVEN, stage: asked.name } }];
  const { config, weights, dtype, tokenizer, adopted } = checkpoint;
  return [part, TOKENIZER].map(givenNode).concat({
    name,
    needs: [part, TOKENIZER],
    settings: { adopted },
    revision: 1,
    asked,
    maker: oneByOne(ADOPT, async (making) => {
      const { saveModelFolder } = await import("../model/checkpoints/checkpoint.ts");
      const partition = hashFiles(making.manifest(part));
      const records = await saveModelFolder(making.folder, config, weights, {
        notes: {
          tokenizer: tokenizer.sha256,
          eos: tokenizer.eos,
          partition,
          adopted: adopted.from,
        },
        tokenizer: { json: tokenizer.json },
        dtype,
      });
      making.wrote(records);
      return { folder: name, adopted };
    }),
  });
}

/** Lists the experts of a run that were adopted, as they lie there. */
export async function adoptRequests({ run, configuration }: GraphOf): Promise<AdoptRequest[]> {
  const adopted = async (expert: number) => {
    const { node } = expertTarget(expert, configuration);
    return describeAdoption(await readManifest(`${run}/${node}`).catch(() => null)) !== undefined;
  };
  const experts = Array.from({ length: configuration.experts }, (_, expert) => expert);
  const areAdopted = await Promise.all(experts.map(adopted));
  return experts.filter((expert) => areAdopted[expert]).map((expert) => ({ expert }));
}
