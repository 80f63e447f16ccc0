/**
 * The stage `score` asks the partitioner what every sequence costs every expert. Several processes can score
 * parts of the shards: a note is kept of every scored shard, and a run without parts closes the stage.
 *
 * @module
 */

import { InputError, say, task } from "../../kernels/errors.ts";
import { forwardFlops, slowedFlops } from "../cost/flops.ts";
import { parameterCount } from "../model/shape.ts";
import { modelShapes } from "../model/shapes.ts";
import type { Partitioner } from "../partition/partitioner.ts";
import {
  hasRouters,
  identifyPartitioner,
  openPartitioner,
  partitionerFolder,
} from "../partition/partitioners.ts";
import { score as scoreRows, unknownText } from "../partition/score.ts";
import { readArrow, writeArrowFile } from "../rows/arrow.ts";
import { exists, type FileRecord, removeFiles, removeIfThere, shortHash } from "../run/files.ts";
import { HeldError, type Hold } from "../run/lock.ts";
import {
  type Manifest,
  outputsHash,
  outputsUnder,
  readManifest,
  type StageIdentity,
  stageKey,
} from "../run/manifest.ts";
import { LEARN, routerActivations, splitPrefix } from "./learn.ts";
import { type FileNote, noteOf, notePath, type Part, writeNote } from "./notes.ts";
import { oneStage, pickSettings, type RunContext, type Stage, type Unfinished, type Work } from "./stage.ts";
import { tokenizeResult } from "./tokenize.ts";
import { checkRows, watchRows } from "./watch.ts";

const SETTINGS = ["prefix", "scoreBatch"] as const;
const REVISION = 1;

/** Where scores and their notes lie. */
const PLACE = { stage: "score", folder: "scores" };

const stage: Stage = {
  name: PLACE.stage,
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
  part: scorePart,
  unfinished,
  estimate(c, { sequences }, flops, kind) {
    if (!hasRouters(c)) {
      return { seconds: sequences / 5_000, diskBytes: scoreBytes(c.experts, sequences), memoryBytes: 50e6 };
    }
    const { router } = modelShapes(c);
    return {
      seconds: slowedFlops(sequences * c.experts * forwardFlops(router, 1, c.prefix), router, kind) / flops,
      diskBytes: scoreBytes(c.experts, sequences),
      memoryBytes: 4 * parameterCount(router) * c.experts + routerActivations(c, c.scoreBatch || 128) / 4,
    };
  },
};

/** Scores the sequences of a run. */
export const score = oneStage(stage);

/** Estimates the bytes of score shards. */
export const scoreBytes = (experts: number, sequences: number): number => sequences * (4 * experts + 32);

/** Scores a share of the shards, every N-th of them. Returns the counts of this part, and how many shards of all parts are `scored`. */
async function scorePart(
  work: Work,
  { inputs }: StageIdentity,
  { index, of }: Part,
): Promise<Record<string, unknown>> {
  const tokenize = await work.manifest("tokenize");
  const names = shardsOf(tokenize);
  const own = names.filter((_, i) => i % of === index - 1);
  const { result } = await scoreShards(work, tokenize, inputs.routers, own, true);
  const scored = await scoredShards(work, tokenize, inputs.routers, names);
  return { ...result, scored: scored.size, shards: names.length };
}

/**
 * Scores those of the named shards that have no note yet. `beside` says that other processes may score some
 * of them.
 */
async function scoreShards(
  work: Work,
  tokenize: Manifest,
  routers: string,
  names: readonly string[],
  beside = false,
) {
  const { run, configuration, emit, force } = work;
  const { trainSequences, testSequences } = tokenizeResult(tokenize, run);
  const rowsOf = (name: string) => {
    const before = Number(/\d+/.exec(name)) * configuration.shardSequences; // all shards but the last are full
    const all = name.startsWith("train-") ? trainSequences : testSequences;
    return Math.min(configuration.shardSequences, all - before);
  };
  const total = names.reduce((sum, name) => sum + rowsOf(name), 0);
  let partitioner: Partitioner | undefined;
  let unknown = 0;
  const notes = await scoredShards(work, tokenize, routers, force ? [] : names);
  let done = [...notes.values()].reduce((sum, { rows }) => sum + rows, 0);
  const folder = await partitionerFolder(run, configuration.routers);
  const scoreShard = async (name: string, waited: boolean): Promise<FileNote> => {
    const key = shardKey(work, tokenize, routers, name);
    const known = notes.get(name) ?? (waited ? await noteOf({ ...PLACE, run, file: name, key }) : null);
    if (known) {
      work.files.note(known.read ?? {});
      return known;
    }
    await removeIfThere(notePath(run, PLACE.stage, name));
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
      signal: work.signal,
      onWarning: (message) => emit({ type: "warning", message }),
      onUnknown: (sequences) => unknown += sequences,
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
    const note = { key, ...written, read };
    await writeNote(run, PLACE.stage, name, note);
    return note;
  };
  const outputs: Record<string, FileRecord> = {};
  let sequences = 0;
  try {
    for await (const { name, release, waited } of beside ? freeFirst(work, names) : inTurn(names)) {
      const { bytes, sha256, rows } = await scoreShard(name, waited).finally(release);
      outputs[`scores/${name}`] = { bytes, sha256 };
      sequences += rows;
    }
  } finally {
    partitioner?.close();
  }
  if (unknown > 0) emit({ type: "warning", message: unknownText(unknown) });
  return { outputs, result: { sequences, experts: partitioner?.experts ?? configuration.experts } };
}

/**
 * A shard that this process is to score. `waited` says that another process may have scored it in the
 * meantime.
 */
interface OwnShard {
  name: string;
  release?: Hold;
  waited: boolean;
}

function* inTurn(names: readonly string[]): Generator<OwnShard> {
  for (const name of names) yield { name, waited: false };
}

/**
 * Holds shards one after another: first those that no other process works on, then the others once they are
 * free. With force, only the others count as scored by another process.
 */
async function* freeFirst({ lock, force }: Work, names: readonly string[]): AsyncGenerator<OwnShard> {
  const held: string[] = [];
  const hold = (name: string, patience: number) => lock(`${PLACE.stage}-${name}`, { patience });
  for (const name of names) {
    const release = await hold(name, 0).catch((error) => {
      if (!(error instanceof HeldError)) throw error;
    });
    if (release) yield { name, release, waited: !force };
    else held.push(name);
  }
  for (const name of held) yield { name, release: await hold(name, Infinity), waited: true };
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

function otherRouters(where: string, actual: string, expected: string): InputError {
  const fact = `SHA-256 is ${shortHash(actual)}, not ${shortHash(expected)}`;
  return new InputError(`Cannot score by "${where}" as it must be what was learned: ${fact}`, { where });
}

/** Finds those of the named shards whose scores are there, whether or not a manifest closes the stage. */
async function scoredShards(
  context: RunContext,
  tokenize: Manifest,
  routers: string,
  names: readonly string[],
): Promise<Map<string, FileNote>> {
  const scored = new Map<string, FileNote>();
  for (const name of names) {
    const key = shardKey(context, tokenize, routers, name);
    const note = await noteOf({ ...PLACE, run: context.run, file: name, key });
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

/** Removes the notes of shards that no longer exist. */
async function removeOtherNotes(run: string, names: readonly string[]): Promise<void> {
  const kept = names.map((name) => notePath(".", PLACE.stage, name).slice(2));
  await removeFiles(run, "manifests/score", (path) => stage.makes!.test(path) && !kept.includes(path));
}
