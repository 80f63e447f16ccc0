/**
 * The stage `score` asks the partitioner what every sequence costs every expert. Parts of the shards can be scored by several
 * processes: a note is kept of every scored shard, and a run without parts closes the stage.
 *
 * @module
 */

import * as v from "valibot";
import { InputError, say, task } from "../../kernels/errors.ts";
import { forwardFlops } from "../cost/cost.ts";
import { parameterCount } from "../model/shape.ts";
import { modelShapes } from "../model/shapes.ts";
import type { Partitioner } from "../partition/partitioner.ts";
import { identifyPartitioner, openPartitioner, partitionerFolder } from "../partition/partitioners.ts";
import { score as scoreRows } from "../partition/score.ts";
import { readArrow, writeArrowFile } from "../rows/arrow.ts";
import {
  exists,
  type FileRecord,
  jsonText,
  removeFiles,
  removeIfThere,
  shortHash,
  writeAtomic,
} from "../run/files.ts";
import {
  type Manifest,
  manifestPath,
  outputsHash,
  outputsUnder,
  readManifest,
  stageKey,
} from "../run/manifest.ts";
import { count, readJsonIfThere } from "../run/schema.ts";
import { isSealed, seal } from "../run/seal.ts";
import { kindOf, LEARN, routerActivations, splitPrefix } from "./learn.ts";
import { oneStage, pickSettings, type RunContext, type Stage, type Unfinished, type Work } from "./stage.ts";
import { tokenizeResult } from "./tokenize.ts";
import { checkRows, watchRows } from "./watch.ts";

/** Selects a share of the shards, so that several processes score a run together. */
export interface Part {
  /** Number of this part, from 1. */
  index: number;
  /** Number of parts. */
  of: number;
}

/** Version of the layout of notes; the one before had no number and no checksum. */
const NOTE_FORMAT = 2;
const NOTE = v.looseObject({
  key: v.string(),
  bytes: count,
  sha256: v.string(),
  rows: count,
  read: v.optional(v.record(v.string(), v.string())),
});
const SEALED_NOTE = v.pipe(
  NOTE,
  v.check((note) => isSealed(note, NOTE_FORMAT), "its checksum is not that of what it says"),
);

/** What is kept of one scored shard: its size and SHA-256, the hash of what its scores depend on, its sequences, what was read for it. */
type ScoreNote = v.InferOutput<typeof NOTE>;

const SETTINGS = ["prefix", "scoreBatch"] as const;
const REVISION = 1;

const stage: Stage = {
  name: "score",
  about: "Scores the prefix of every sequence for every expert.",
  needs: ["tokenize", LEARN],
  settings: [...SETTINGS, "routers"],
  revision: REVISION,
  outputs: ["scores/"],
  makes: /^(scores\/(train|test)-\d{5,}\.arrow|manifests\/score\/(train|test)-\d{5,}\.arrow\.json)$/,
  values: ({ configuration }) => pickSettings(configuration, SETTINGS),
  async inputs(_, manifest): Promise<Record<string, string>> {
    const [tokenize, learned] = [await manifest("tokenize"), await manifest(LEARN)];
    return {
      ...(tokenize ? { tokens: outputsHash(tokenize, "tokens/") } : {}),
      ...(learned ? { routers: String(learned.result.routers) } : {}),
    };
  },
  async external({ configuration: { routers } }): Promise<Record<string, string>> {
    return routers === "" ? {} : { routers: (await identifyPartitioner(routers)).sha256 };
  },
  prepare: (work, { inputs }) => async () => {
    const tokenize = await work.manifest("tokenize");
    await removeOtherNotes(work.run, shardsOf(tokenize));
    const { trainSequences, testSequences } = tokenizeResult(tokenize, work.run);
    const made = await scoreShards(work, tokenize, inputs.routers, shardsOf(tokenize));
    checkRows(`${work.run}/tokens`, made.result.sequences, trainSequences + testSequences);
    return made;
  },
  unfinished,
  estimate(c, { sequences }, flops) {
    if (c.routers === "" && !kindOf(c).models) {
      return { seconds: sequences / 5_000, diskBytes: scoreBytes(c.experts, sequences), memoryBytes: 50e6 };
    }
    const { router } = modelShapes(c);
    return {
      seconds: sequences * c.experts * forwardFlops(router, 1, c.prefix) / flops,
      diskBytes: scoreBytes(c.experts, sequences),
      memoryBytes: 4 * parameterCount(router) * c.experts + routerActivations(c, c.scoreBatch || 128) / 4,
    };
  },
};

/** Scores the sequences of a run. */
export const score = oneStage(stage);

/** Estimates the bytes of score shards. */
export const scoreBytes = (experts: number, sequences: number): number => sequences * (4 * experts + 32);

/**
 * Scores a share of the shards; the stage is complete when a run without a part finds them all. Returns the counts of this part,
 * `scored` and `shards` of all parts, and whether the stage is `closed`.
 */
export async function scorePart(work: Work, { index, of }: Part): Promise<Record<string, unknown>> {
  const { run, emit } = work;
  const tokenize = await work.manifest("tokenize");
  const routers = await routersOf(work);
  const names = shardsOf(tokenize);
  const inputs = { tokens: outputsHash(tokenize, "tokens/"), routers };
  const key = stageKey("score", REVISION, pickSettings(work.configuration, SETTINGS), inputs);
  const closed = !work.force && (await readManifest(run, "score"))?.key === key;
  if (!closed) await removeIfThere(manifestPath(run, "score")); // it must not vouch for shards that change
  emit({ type: "stage", stage: "score", state: "started" });
  const { result } = await scoreShards(work, tokenize, routers, names.filter((_, i) => i % of === index - 1));
  emit({ type: "stage", stage: "score", state: "done", result });
  const scored = await scoredShards(work, tokenize, routers, names);
  return { ...result, scored: scored.size, shards: names.length, closed };
}

/** Gives the identity of the partitioner that scores; that of one learned here must have been learned. */
async function routersOf(work: Work): Promise<string> {
  const { routers } = work.configuration;
  if (routers !== "") return (await identifyPartitioner(routers)).sha256;
  return String((await work.manifest(LEARN)).result.routers);
}

/** Scores the shards of these names that no note says are scored already. */
async function scoreShards(work: Work, tokenize: Manifest, routers: string, names: readonly string[]) {
  const { run, configuration, emit, force } = work;
  const { trainSequences, testSequences } = tokenizeResult(tokenize, run);
  const rowsOf = (name: string) => {
    const before = Number(/\d+/.exec(name)) * configuration.shardSequences; // all shards but the last are full
    const all = name.startsWith("train-") ? trainSequences : testSequences;
    return Math.min(configuration.shardSequences, all - before);
  };
  const total = names.reduce((sum, name) => sum + rowsOf(name), 0);
  let partitioner: Partitioner | undefined;
  const notes = await scoredShards(work, tokenize, routers, force ? [] : names);
  let done = [...notes.values()].reduce((sum, { rows }) => sum + rows, 0);
  const folder = await partitionerFolder(run, configuration.routers);
  const scoreShard = async (name: string): Promise<ScoreNote> => {
    const key = shardKey(work, tokenize, routers, name);
    const known = notes.get(name);
    if (known) {
      work.files.note(known.read ?? {});
      return known;
    }
    await removeIfThere(notePath(run, name));
    const tokens = `${run}/tokens/${name}`;
    partitioner ??= await openPartitioner(folder, work.gpu, {
      batch: configuration.scoreBatch || undefined,
      vouched: work.files,
    });
    if (partitioner.sha256 !== routers) throw otherRouters(folder, partitioner.sha256, routers);
    const scores = scoreRows(readArrow(tokens, tokens, work.files), {
      partitioner,
      prefix: await splitPrefix(configuration),
      dropTokens: true,
      config: key,
      onWarning: (message) => emit({ type: "warning", message }),
    });
    const watched = watchRows(
      work,
      scores,
      (rows) => emit({ type: "progress", stage: "score", done: done += rows, total, unit: "sequences" }),
    );
    const written = await writeArrowFile(`${run}/scores/${name}`, watched);
    const read = Object.fromEntries(
      Object.entries(work.files.read).filter(([path]) =>
        !path.startsWith("tokens/") || path === `tokens/${name}`
      ),
    );
    const note = seal({ format: NOTE_FORMAT, key, ...written, read });
    await writeAtomic(notePath(run, name), jsonText(note));
    return note;
  };
  const outputs: Record<string, FileRecord> = {};
  let sequences = 0;
  try {
    for (const name of names) {
      const { bytes, sha256, rows } = await scoreShard(name);
      outputs[`scores/${name}`] = { bytes, sha256 };
      sequences += rows;
    }
  } finally {
    partitioner?.close();
  }
  return { outputs, result: { sequences, experts: partitioner?.experts ?? configuration.experts } };
}

/** Lists the shards to score by name: those of training sequences, then those held out. */
function shardsOf(tokenize: Manifest): string[] {
  return ["tokens/train-", "tokens/test-"].flatMap((under) => outputsUnder(tokenize, under))
    .map((path) => path.slice("tokens/".length));
}

/** Hashes what the scores of one shard depend on: its tokens, the partitioner and the settings. */
function shardKey({ configuration }: RunContext, tokenize: Manifest, routers: string, name: string): string {
  return stageKey("score shard", REVISION, pickSettings(configuration, SETTINGS), {
    tokens: tokenize.outputs[`tokens/${name}`].sha256,
    routers,
  });
}

const notePath = (run: string, name: string): string => `${run}/manifests/score/${name}.json`;

/** Reads the note of a shard whose scores are there, of its size and with this key; null for any other, and where it is damaged. */
async function readNote(run: string, name: string, key: string): Promise<ScoreNote | null> {
  const note = await readScoreNote(notePath(run, name)).catch(() => null); // damaged: scored again
  const size = await Deno.stat(`${run}/scores/${name}`).then(({ size }) => size, () => -1);
  return note?.key === key && note.bytes === size ? note : null;
}

/** Reads a note; null where there is none. Throws an `InputError` where it is damaged. */
export async function readScoreNote(where: string): Promise<ScoreNote | null> {
  return await readJsonIfThere(where, SEALED_NOTE, "the note of scores");
}

function otherRouters(where: string, actual: string, expected: string): InputError {
  const fact = `SHA-256 is ${shortHash(actual)}, not ${shortHash(expected)}`;
  return new InputError(`Cannot score by "${where}" as it must be what was learned: ${fact}`, { where });
}

/** Finds those of the shards of these names whose scores are there, whether a manifest closes the stage or not. */
async function scoredShards(
  context: RunContext,
  tokenize: Manifest,
  routers: string,
  names: readonly string[],
): Promise<Map<string, ScoreNote>> {
  const scored = new Map<string, ScoreNote>();
  for (const name of names) {
    const note = await readNote(context.run, name, shardKey(context, tokenize, routers, name));
    if (note) scored.set(name, note);
  }
  return scored;
}

/** Says how far the parts have come before a manifest closes the stage; null where none has begun. */
async function unfinished(context: RunContext): Promise<Unfinished | null> {
  const { run, configuration } = context;
  if (!await exists(`${run}/manifests/score`)) return null;
  const tokenize = await readManifest(run, "tokenize");
  const routers = configuration.routers === ""
    ? String((await readManifest(run, LEARN))?.result.routers ?? "")
    : (await identifyPartitioner(configuration.routers).catch(() => null))?.sha256;
  if (tokenize === null || !routers) return null;
  const names = shardsOf(tokenize);
  const scored = await scoredShards(context, tokenize, routers, names);
  if (scored.size === 0) return null;
  const shards = names.length;
  const complete = scored.size === shards;
  const close = task("score", { run });
  return {
    complete,
    what: complete
      ? `all ${shards} shards are scored, but it is not closed`
      : `${scored.size} of ${shards} shards are scored so far`,
    remedy: complete
      ? say`run ${close} to close it`
      : say`run ${close} to score the others, or their parts first`,
    files: Object.fromEntries(
      [...scored].map(([name, { bytes, sha256 }]) => [`scores/${name}`, { bytes, sha256 }]),
    ),
  };
}

/** Removes the notes of shards that are no more. */
async function removeOtherNotes(run: string, names: readonly string[]): Promise<void> {
  const kept = names.map((name) => notePath(".", name).slice(2));
  await removeFiles(run, "manifests/score", (path) => stage.makes!.test(path) && !kept.includes(path));
}
