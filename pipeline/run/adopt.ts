/**
 * Adopts an expert that another trainer made from an exported part: its checkpoint becomes the node
 * of an expert of the run, whose manifest says where it came from.
 *
 * @module
 */

import { InputError, say, setting, type Text } from "../../kernels/errors.ts";
import { loadCheckpoint, tokenText } from "../model/checkpoints/checkpoint.ts";
import type { Checkpoint, CheckpointNotes } from "../model/checkpoints/hugging_face_config.ts";
import { replacements } from "../graph/replace.ts";
import { hashFiles, readManifest, TOKENIZER, TOKENIZER_FILE } from "../graph/node.ts";
import { Walk } from "../graph/walk.ts";
import { type ModelConfig, parameterCount } from "../model/shape.ts";
import { exists, shortHash } from "../graph/files.ts";
import { loadTokenizer, sameTokenizer, type Tokenizer, tokenizerIn } from "../text/tokenizer.ts";
import { type Adoption, describeAdoption } from "../training/adoption.ts";
import { ADOPT, type AdoptRequest } from "../stages/adopt.ts";
import { needConfiguration } from "../stages/parts.ts";
import { checkExpert } from "./models.ts";
import { noteDescendant } from "./descendants.ts";
import { isSamePlace } from "./output.ts";
import { openRun, type RunOptions, type RunWatch } from "./run.ts";
import { expertTarget } from "../stages/targets.ts";

/** What {@linkcode adoptExpert} takes. */
export interface AdoptOptions extends Pick<RunOptions, "run" | "force"> {
  /** The expert that the checkpoint becomes. */
  expert: number;
  /** A Hugging Face folder of any size: `GPTNeoXForCausalLM` or `LlamaForCausalLM`. */
  from: string;
}

/** What was adopted. */
export interface Adopted extends Adoption {
  /** The expert. */
  expert: number;
  /** Its folder, in the run folder. */
  folder: string;
  /** Whether it was put there now, or was there before. */
  state: "done" | "up to date";
}

/**
 * Puts a checkpoint into a run as one of its experts. It may have another size than the others, but
 * it must read the ids of the run's tokenizer and sequences of the run's length. Throws an
 * `InputError` where the checkpoint is damaged or of another architecture, tokenizer or part. Also
 * where there is an expert already and `force` does not give it up.
 */
export async function adoptExpert(
  { expert, from, run, force = false }: AdoptOptions,
  watch: RunWatch = {},
): Promise<Adopted> {
  const { experts } = await needConfiguration(run);
  checkExpert("adopt", run, expert, experts);
  const { node: name, part = "" } = expertTarget(expert, { experts });
  const where = `${run}/${name}`;
  const earlier = await readManifest(where);
  const real = await Deno.realPath(from).catch(() => null); // it may be a link to it
  if (real !== null && await isSamePlace(real, where)) {
    throw refuse(from, "it must lie elsewhere: it is that expert's own folder");
  }
  return await openRun({ run, force }, watch, ADOPT, async ({ planStage, makeStage }) => {
    const checkpoint = await loadAdoptable(run, from);
    const { config: shape, sha256, notes } = checkpoint;
    const adopted: Adoption = { from, sha256, shape, parameters: parameterCount(shape) };
    const request: AdoptRequest = { expert, checkpoint: { ...checkpoint, adopted } };
    const walk = new Walk(run, await planStage(ADOPT, request));
    const { state } = await walk.of(walk.node(name));
    const isAdopted = state === "made" && !force;
    if (!isAdopted && !force) {
      await checkPart(run, part, notes, { expert, from });
      if ((await replacements(walk)).length > 0) {
        const adoption = describeAdoption(earlier);
        const fact = adoption ? `it was adopted from "${adoption.from}"` : "it was, or is begun";
        throw new InputError(`Cannot adopt expert ${expert} as it must not be trained: ${fact}`, {
          where,
          remedy: say`replace it with ${setting("force")}`,
        });
      }
    }
    await makeStage(ADOPT, request);
    await noteDescendant(from, run, "expert");
    return { ...adopted, expert, folder: name, state: isAdopted ? "up to date" : "done" };
  });
}

/**
 * Loads a checkpoint that may be an expert of a run, and the run's tokenizer. Throws an
 * `InputError` for one that may not.
 */
export async function loadAdoptable(
  run: string,
  from: string,
): Promise<Checkpoint & { tokenizer: Tokenizer }> {
  const { sequenceLength, eos } = await needConfiguration(run);
  const tokenizer = await tokenizerIn(`${run}/${TOKENIZER}`, { eos });
  const checkpoint = await loadCheckpoint(from);
  checkSizes(from, checkpoint.config, { tokenizer, sequenceLength });
  await checkTokenizer(from, checkpoint.notes, tokenizer);
  return { ...checkpoint, tokenizer };
}

const refuse = (where: string, fact: string, remedy?: Text) =>
  new InputError(`Cannot adopt "${where}" as ${fact}`, { where, remedy });

/** Throws where a checkpoint notes that it was trained on another part. */
async function checkPart(
  run: string,
  part: string,
  { partition }: CheckpointNotes,
  { expert, from }: { expert: number; from: string },
): Promise<void> {
  const manifest = await readManifest(`${run}/${part}`);
  const partHash = manifest && hashFiles(manifest);
  if (partition === undefined || !partHash || partition === partHash) return;
  const [theirs, ours] = [partition, partHash].map(shortHash);
  throw refuse(
    from,
    `it must have been trained on the part of expert ${expert}: its notes name the ` +
      `part ${theirs}, that of expert ${expert} is ${ours}`,
    say`name the expert whose part it is, or accept it with ${setting("force")}`,
  );
}

function checkSizes(
  from: string,
  { vocabulary, context, switch: routing }: ModelConfig,
  { tokenizer: { vocabulary: ids }, sequenceLength }: {
    tokenizer: Tokenizer;
    sequenceLength: number;
  },
): void {
  if (routing) {
    throw refuse(from, `one model must answer: in its layers it has ${routing.experts} experts`);
  }
  if (vocabulary < ids) {
    const fact =
      `its vocabulary must hold the ${ids} ids of the run's tokenizer: it holds ${vocabulary}`;
    throw refuse(from, fact);
  }
  if (context >= sequenceLength) return;
  const fact =
    `its context must be at least the run's sequence length, ${sequenceLength}: it is ${context}`;
  throw refuse(from, fact);
}

/**
 * Throws where the tokenizer next to a checkpoint, or the one in its notes, is not that of the run,
 * and where there is neither.
 */
async function checkTokenizer(
  from: string,
  notes: CheckpointNotes,
  tokenizer: Tokenizer,
): Promise<void> {
  const where = `${from}/${TOKENIZER_FILE}`;
  const runHash = shortHash(tokenizer.sha256);
  const rule = "its tokenizer must be that of the run";
  if (await exists(where)) {
    const { json, sha256 } = await loadTokenizer(where, {
      eos: tokenText(tokenizer.json, tokenizer.eos),
    });
    if (sameTokenizer(json, tokenizer.json)) return;
    throw refuse(from, `${rule}: it is ${shortHash(sha256)}, that of the run is ${runHash}`);
  }
  if (notes.tokenizer === tokenizer.sha256) return;
  const fact = notes.tokenizer === undefined
    ? "it holds no tokenizer.json"
    : `its notes name ${shortHash(notes.tokenizer)}, that of the run is ${runHash}`;
  throw refuse(
    from,
    `${rule}: ${fact}`,
    "if it was trained with the run's tokenizer.json, copy that there",
  );
}
