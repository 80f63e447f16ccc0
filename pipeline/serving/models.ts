/**
 * Finds the model that answers a prompt: in a run folder the routers and then the one expert they choose, or a
 * checkpoint that is named. Only that expert's folder is read.
 *
 * @module
 */

import type { Gpu } from "../../kernels/gpu.ts";
import type { Configuration } from "../settings/configuration.ts";
import { loadTokenizer, type Tokenizer } from "../text/tokenizer.ts";
import { type Checkpoint, loadCheckpoint, loadRouters, type Routers } from "../checkpoints/checkpoint.ts";
import { partitionerOfRun } from "../partition/partitioners.ts";
import { expertFolder } from "../partition/split.ts";
import { readRunConfiguration, routersAgain } from "../stages/configuration.ts";
import { exists, shortHash } from "../run/files.ts";
import { commandOf } from "../run/manifest.ts";
import { partitionRemedy, partsAlone } from "../stages/parts_alone.ts";
import { type Route, routeTokens } from "./route.ts";

/** The model for a prompt. */
export interface Choice {
  /** What the routers said; null where they were not asked. */
  route: Route | null;
  /** The expert; null for a model that was named. */
  expert: number | null;
  /** The model. */
  checkpoint: Checkpoint;
}

/** Where models come from. */
export interface Source {
  /** Tokenizer of all of them. */
  tokenizer: Tokenizer;
  /** Number of experts; null for a model that was named. */
  experts: number | null;
  /** Chooses the model for a prompt, and loads it alone. */
  choose(gpu: Gpu, tokens: Uint32Array): Promise<Choice>;
}

/** Opens a checkpoint folder. Its errors are those of {@link openRun}. */
export async function openModel(folder: string): Promise<Source> {
  const checkpoint = await loadCheckpoint(folder);
  // A dense model's folder and an expert's have their tokenizer; a router's is that of its run.
  const places = [folder, `${folder}/..`, `${folder}/../..`].map((place) => `${place}/tokenizer.json`);
  const found = await Promise.all(places.map(exists));
  const path = places[found.indexOf(true)];
  if (path === undefined) {
    throw new RangeError(
      `Cannot generate with "${folder}" as its tokenizer must be known: there is no tokenizer.json in it or above it; ` +
        "copy the one that it was trained with there",
    );
  }
  const tokenizer = await loadTokenizer(path);
  checkTokenizer(folder, checkpoint.notes.tokenizer, tokenizer, path);
  checkVocabulary(folder, checkpoint, tokenizer);
  return {
    tokenizer,
    experts: null,
    choose: () => Promise.resolve({ route: null, expert: null, checkpoint }),
  };
}

/**
 * Opens the routers of a run, or none where expert `asked` is named.
 *
 * Throws a `RangeError` where something is missing (and names the task to run), the expert is out of range, or a model has
 * another shape or tokenizer than the run; a `SyntaxError` where a file is damaged.
 */
export async function openRun(run: string, asked?: number): Promise<Source> {
  const configuration = (await readRunConfiguration(run))?.configuration;
  const path = `${run}/tokenizer.json`;
  if (!await exists(path)) throw missing(path, await partitionRemedy(run));
  const tokenizer = await loadTokenizer(path, { eos: configuration?.eos });
  const routers = asked === undefined || !configuration
    ? await openRouters(run, configuration, { tokenizer, path })
    : null;
  const experts = routers?.models.length ?? configuration!.experts;
  if (asked !== undefined && !(Number.isSafeInteger(asked) && asked >= 0 && asked < experts)) {
    throw new RangeError(
      `Cannot generate as --expert must be one of 0 to ${
        experts - 1
      }, the experts of "${run}": it is ${asked}`,
    );
  }
  return {
    tokenizer,
    experts,
    async choose(gpu, tokens) {
      const prefix = configuration?.prefix ?? routers?.notes.prefix ?? routers?.config.context ?? 0;
      const route = asked === undefined ? await routeTokens(gpu, routers!, tokens, prefix) : null;
      const expert = route?.expert ?? asked!;
      return { route, expert, checkpoint: await openExpert(run, expert, configuration, { tokenizer, path }) };
    },
  };
}

/** The tokenizer of a run, and its file. */
interface OfRun {
  tokenizer: Tokenizer;
  path: string;
}

/** The routers that lie in the run, or those that it was made with. */
async function openRouters(
  run: string,
  configuration: Configuration | undefined,
  { tokenizer, path }: OfRun,
): Promise<Routers> {
  const places = [await partitionerOfRun(run), ...(configuration?.routers ? [configuration.routers] : [])];
  const found = await Promise.all(places.map((place) => exists(`${place}/router-00`)));
  const folder = places[found.indexOf(true)];
  if (folder === undefined) throw missing(places[0], await routersRemedy(run));
  const routers = await loadRouters(folder);
  checkTokenizer(folder, routers.notes.tokenizer, tokenizer, path);
  const experts = configuration?.experts ?? routers.models.length;
  if (experts !== routers.models.length) {
    throw new RangeError(
      `Cannot route by "${folder}" as there must be a router for each of the run's ${experts} experts: there are ` +
        `${routers.models.length}; ${routersAgain(run, configuration!)}`,
    );
  }
  return routers;
}

async function openExpert(
  run: string,
  expert: number,
  configuration: Configuration | undefined,
  { tokenizer, path: tokenizerPath }: OfRun,
): Promise<Checkpoint> {
  const folder = `${run}/experts/${expertFolder(expert)}`;
  for (const path of [`${folder}/config.json`, `${folder}/model.safetensors`]) {
    if (await exists(path)) continue;
    const alone = await partsAlone(run);
    throw missing(
      path,
      alone.length > 0 && !alone.includes(expert)
        ? await partitionRemedy(run)
        : `run ${commandOf(run, `train-${expertFolder(expert)}`)} first`,
    );
  }
  const checkpoint = await loadCheckpoint(folder);
  checkTokenizer(folder, checkpoint.notes.tokenizer, tokenizer, tokenizerPath);
  checkVocabulary(folder, checkpoint, tokenizer);
  const { expertHidden, expertLayers, expertHeads } = configuration ?? {};
  for (
    const [name, wanted] of Object.entries({ hidden: expertHidden, layers: expertLayers, heads: expertHeads })
  ) {
    const actual = checkpoint.config[name as "hidden" | "layers" | "heads"];
    if (wanted !== undefined && actual !== wanted) {
      throw new RangeError(
        `Cannot generate with "${folder}" as it must have the shape of the run's experts: ${name} is ${actual}, in ` +
          `"${run}/config.json" it is ${wanted}; train it again, or name it with --model`,
      );
    }
  }
  return checkpoint;
}

function checkTokenizer(
  folder: string,
  trained: string | undefined,
  { sha256 }: Tokenizer,
  path: string,
): void {
  if (trained !== undefined && trained !== sha256) {
    throw new RangeError(
      `Cannot use "${folder}" as it must have been trained with the tokenizer "${path}": its own has the SHA-256 ` +
        `${shortHash(trained)}, that one ${
          shortHash(sha256)
        }; copy its own tokenizer there, or train it again`,
    );
  }
}

function checkVocabulary(folder: string, { config }: Checkpoint, { vocabulary }: Tokenizer): void {
  if (config.vocabulary < vocabulary) {
    throw new RangeError(
      `Cannot use "${folder}" as its vocabulary must hold all ids of the tokenizer: it has ${config.vocabulary}, the ` +
        `tokenizer has ${vocabulary}; copy its own tokenizer.json again, or train it again`,
    );
  }
}

/** Says where routers are to be had; an expert whose part lies alone can do without. */
async function routersRemedy(run: string): Promise<string> {
  const alone = await partsAlone(run);
  const remedy = await partitionRemedy(run);
  return alone.length === 0 ? remedy : `${remedy}, or choose with --expert ${alone.join(" or ")}`;
}

function missing(path: string, remedy: string): RangeError {
  return new RangeError(`Cannot generate as "${path}" must be there: it is not; ${remedy}`);
}
