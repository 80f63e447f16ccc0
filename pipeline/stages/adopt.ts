/**
 * Adopts an expert that another trainer made from an exported part. Its checkpoint becomes an expert of the
 * run, with a manifest that says where it came from.
 *
 * @module
 */

import { InputError, say, setting, type Text } from "../../kernels/errors.ts";
import type { CheckpointNotes } from "../checkpoints/hugging_face_config.ts";
import { loadCheckpoint } from "../checkpoints/checkpoint.ts";
import { saveModelFolder } from "../checkpoints/model_folder.ts";
import { type ModelConfig, parameterCount } from "../model/shape.ts";
import { partHash } from "../partition/manifests.ts";
import { type Adoption, adoptionOf } from "../training/adoption.ts";
import { exists, type FileRecord, removeIfThere, shortHash } from "../run/files.ts";
import { GLANCE_MS, type Hold } from "../run/lock.ts";
import {
  manifestPath,
  missingOutput,
  readManifest,
  stageKey,
  vouchedFiles,
  writeManifest,
} from "../run/manifest.ts";
import { loadTokenizer, sameTokenizer, type Tokenizer } from "../text/tokenizer.ts";
import { refuseLinks } from "./executor.ts";
import { inRun, type RunOptions, type RunWatch } from "./session.ts";
import { TOKENIZER } from "./tokenizer.ts";
import { checkExpert } from "./train.ts";
import { expertTarget, readPartOf } from "./train_expert.ts";
import { removeModel } from "./make_model.ts";
import { trainingStage } from "./train_model.ts";

/** What {@linkcode adoptExpert} takes. */
export interface AdoptOptions extends Pick<RunOptions, "run" | "force"> {
  /** The expert that the checkpoint becomes. */
  expert: number;
  /** Folder of the checkpoint: a Hugging Face folder of a `GPTNeoXForCausalLM` of any size. */
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
 * Puts a checkpoint into a run as one of its experts. It may have another size than the others, but it must
 * read the ids of the run's tokenizer and sequences of the run's length. Throws an `InputError` where the
 * checkpoint is damaged or of another architecture, tokenizer or part, and where there is an expert already
 * and `force` does not give it up; a `RunError` where another process works on that expert.
 */
export async function adoptExpert(
  { expert, from, ...options }: AdoptOptions,
  watch: RunWatch = {},
): Promise<Adopted> {
  const { run, force = false } = options;
  const kind = { task: `adopt ${expert}`, beside: "others", aside: true, partSuffices: true } as const;
  return await inRun({ run }, watch, kind, async ({ work }) => {
    const { experts, sequenceLength, eos } = work.configuration;
    checkExpert("adopt", run, expert, experts);
    const { folder } = expertTarget(expert);
    const stage = trainingStage(expertTarget(expert));
    await checkPlaces(from, `${run}/${folder}`);
    const holds: Hold[] = [];
    try {
      holds.push(await work.lock(stage.name, { makes: stage.name, patience: GLANCE_MS }));
      holds.push(await work.lock("split", { mode: "read", patience: GLANCE_MS }));
      const tokenizer = await loadTokenizer(`${run}/${TOKENIZER}`, { eos: eos || undefined });
      const shards = partHash(await readPartOf(run, expert));
      const checkpoint = await loadCheckpoint(from, await vouchedFiles(from)); // another run may have made it
      checkSizes(from, checkpoint.config, { tokenizer, sequenceLength });
      await checkTokenizer(from, checkpoint.notes, tokenizer);
      const { config: shape, sha256, notes } = checkpoint;
      const adopted: Adoption = { from, sha256, shape, parameters: parameterCount(shape) };
      const before = await readManifest(run, stage.name);
      const configuration = { adopted };
      const inputs = { shards, tokenizer: tokenizer.sha256 };
      const key = stageKey(stage.name, stage.revision, configuration, inputs);
      if (before?.key === key && !force && await missingOutput(run, before) === null) {
        work.emit({ type: "stage", stage: stage.name, state: "up to date", by: "size" });
        return { ...adopted, expert, folder, state: "up to date" };
      }
      if (notes.partition !== undefined && notes.partition !== shards && !force) {
        throw refuse(
          from,
          `it must have been trained on the part of expert ${expert}: its notes name the part ${
            shortHash(notes.partition)
          }, that of expert ${expert} is ${shortHash(shards)}`,
          say`name the expert whose part it is, or accept it with ${setting("force")}`,
        );
      }
      const there = adoptionOf(before);
      if (!force && (before !== null || await isLeft(`${run}/${folder}`))) {
        const is = there ? `it was adopted from "${there.from}"` : "it was, or is begun";
        throw new InputError(`Cannot adopt expert ${expert} as it must not be trained: ${is}`, {
          where: `${run}/${folder}`,
          remedy: say`replace it with ${setting("force")}`,
        });
      }
      await refuseLinks(run, stage); // before anything of the expert that is there goes
      work.signal?.throwIfAborted();
      work.emit({ type: "stage", stage: stage.name, state: "started" });
      await removeIfThere(manifestPath(run, stage.name));
      await removeModel(run, expertTarget(expert));
      const files = await saveModelFolder(`${run}/${folder}`, shape, checkpoint.weights, {
        notes: { tokenizer: tokenizer.sha256, eos: tokenizer.eos, partition: shards, adopted: from },
        tokenizer,
        dtype: checkpoint.dtype,
      });
      const outputs: Record<string, FileRecord> = {};
      for (const [name, record] of Object.entries(files)) outputs[`${folder}/${name}`] = record;
      const identity = { stage: stage.name, revision: stage.revision, key, configuration, inputs };
      await writeManifest(run, identity, { outputs, result: { folder, from } });
      work.emit({ type: "stage", stage: stage.name, state: "done", result: {} });
      return { ...adopted, expert, folder, state: "done" };
    } finally {
      for (const release of holds) await release();
    }
  });
}

const refuse = (where: string, fact: string, remedy?: Text) =>
  new InputError(`Cannot adopt "${where}" as ${fact}`, { where, remedy });

/** Throws where the checkpoint is the expert that is to be replaced. */
async function checkPlaces(from: string, folder: string): Promise<void> {
  const [one, other] = await Promise.all([from, folder].map((path) => Deno.realPath(path).catch(() => null)));
  if (one !== null && one === other) {
    throw refuse(from, "it must lie elsewhere: it is that expert's own folder");
  }
}

/** Says whether a folder holds a model or states of a training. */
async function isLeft(folder: string): Promise<boolean> {
  return await exists(`${folder}/config.json`) || await exists(`${folder}/checkpoints`);
}

function checkSizes(
  from: string,
  { vocabulary, context, switch: routing }: ModelConfig,
  { tokenizer, sequenceLength }: { tokenizer: Tokenizer; sequenceLength: number },
): void {
  if (routing) throw refuse(from, `one model must answer: in its layers it has ${routing.experts} experts`);
  if (vocabulary < tokenizer.vocabulary) {
    throw refuse(
      from,
      `its vocabulary must hold the ${tokenizer.vocabulary} ids of the run's tokenizer: it holds ${vocabulary}`,
    );
  }
  if (context >= sequenceLength) return;
  throw refuse(
    from,
    `its context must be at least the run's sequence length, ${sequenceLength}: it is ${context}`,
  );
}

/**
 * Throws where the tokenizer beside a checkpoint, or the one in its notes, is not that of the run, and where
 * there is neither.
 */
async function checkTokenizer(from: string, notes: CheckpointNotes, tokenizer: Tokenizer): Promise<void> {
  const where = `${from}/${TOKENIZER}`;
  if (await exists(where)) {
    const { json, sha256 } = await loadTokenizer(where, { eos: tokenText(tokenizer) });
    if (sameTokenizer(json, tokenizer.json)) return;
    const [own, other] = [shortHash(sha256), shortHash(tokenizer.sha256)];
    throw refuse(from, `its tokenizer must be that of the run: it is ${own}, that of the run is ${other}`);
  }
  if (notes.tokenizer === tokenizer.sha256) return;
  const fact = notes.tokenizer === undefined
    ? "it holds no tokenizer.json"
    : `its notes name ${shortHash(notes.tokenizer)}, that of the run is ${shortHash(tokenizer.sha256)}`;
  throw refuse(
    from,
    `its tokenizer must be that of the run: ${fact}`,
    "if it was trained with the run's tokenizer.json, copy that there",
  );
}

/** Gives the text of EOS. */
function tokenText({ json, eos }: Tokenizer): string | undefined {
  const { added_tokens: added = [] } = JSON.parse(json) as {
    added_tokens?: { id: number; content: string }[];
  };
  return added.find(({ id }) => id === eos)?.content;
}
