/**
 * Keeps a note of every scored shard, so that a share of them is never scored twice, and tells from the notes how far the parts
 * of a stage have come before its manifest closes it.
 *
 * @module
 */

import { InputError } from "../../kernels/errors.ts";
import { type Configuration, stageConfiguration } from "../settings/configuration.ts";
import { identifyPartitioner } from "../partition/partitioners.ts";
import { exists, type FileRecord } from "../run/files.ts";
import { type Manifest, outputsUnder, readManifest, stageKey } from "../run/manifest.ts";

/** What is kept of one scored shard. */
export interface ScoreNote extends FileRecord {
  /** Hash of what its scores depend on. */
  key: string;
  /** Its sequences. */
  rows: number;
}

/** How far the shards of a run are scored. */
export interface ScoredShards {
  /** What is known of the scores that are there, by the shard's name. */
  scored: Map<string, ScoreNote>;
  /** Number of shards. */
  shards: number;
}

/** Lists the shards to score by name: those of training sequences, then those held out. */
export function shardsToScore(tokenize: Manifest): string[] {
  return ["tokens/train-", "tokens/test-"].flatMap((under) => outputsUnder(tokenize, under))
    .map((path) => path.slice("tokens/".length));
}

/** Hashes what the scores of one shard depend on: its tokens, the routers and the configuration. */
export function scoreKey(
  configuration: Configuration,
  tokenize: Manifest,
  routers: string,
  name: string,
): string {
  return stageKey("score shard", stageConfiguration(configuration, "score"), {
    tokens: tokenize.outputs[`tokens/${name}`].sha256,
    routers,
  });
}

/** Gives the path of a shard's note. */
export function notePath(run: string, name: string): string {
  return `${run}/manifests/score/${name}.json`;
}

/** Reads the note of a shard whose scores are there, of its size and with this key; null for any other. */
export async function readNote(run: string, name: string, key: string): Promise<ScoreNote | null> {
  const path = notePath(run, name);
  if (!await exists(path)) return null;
  let note: ScoreNote;
  try {
    note = JSON.parse(await Deno.readTextFile(path));
  } catch {
    return null; // damaged: the shard is scored again
  }
  const size = await Deno.stat(`${run}/scores/${name}`).then(({ size }) => size, () => -1);
  return note.key === key && note.bytes === size ? note : null;
}

/** Finds the shards whose scores are there, whether a manifest closes the stage or not; null where nothing can be scored yet. */
export async function scoredShards(run: string, configuration: Configuration): Promise<ScoredShards | null> {
  const tokenize = await readManifest(run, "tokenize");
  const routers = await routersOf(run, configuration);
  if (tokenize === null || routers === null) return null;
  return await scoredBy(routers, run, configuration, tokenize);
}

/** Finds the shards whose scores under the routers of this hash are there. */
export async function scoredBy(
  routers: string,
  run: string,
  configuration: Configuration,
  tokenize: Manifest,
): Promise<ScoredShards> {
  const names = shardsToScore(tokenize);
  const scored = new Map<string, ScoreNote>();
  for (const name of names) {
    const note = await readNote(run, name, scoreKey(configuration, tokenize, routers, name));
    if (note) scored.set(name, note);
  }
  return { scored, shards: names.length };
}

/** Says what the shards that are scored lack, and how to go on, as the end of a message; null where none is scored. */
export function unclosed(run: string, { scored, shards }: ScoredShards): string | null {
  if (scored.size === 0) return null;
  const close = `run deno task score --run ${run}`;
  return scored.size < shards
    ? `${scored.size} of ${shards} shards are scored so far; ${close} to score the others, or their parts first`
    : `all ${shards} shards are scored, but it is not closed; ${close} to close it`;
}

async function routersOf(run: string, { routers, experts }: Configuration): Promise<string | null> {
  if (routers === "") return String((await readManifest(run, "train-routers"))?.result.routers ?? "") || null;
  const found = await identifyPartitioner(routers).catch((error) => {
    if (error instanceof InputError) return null;
    throw error;
  });
  return found?.experts === experts ? found.sha256 : null;
}
