/**
 * Learns a share of the routers beside processes that learn the others, on devices or machines of their own. They meet at the exchange
 * of scores, through files in the partitioner's folder; one process then puts together what all have learned.
 *
 *     group/scores-0-of-4-round-12.safetensors   what member 0 says of the sequences of a round
 *     group/state-0-of-4.safetensors             what member 0 goes on from
 *     group/start-0-of-4/ …                      clusters that it began with, where it did
 *
 * A member that was killed goes on from its state, after some round, and needs the others' scores of that round. Who exchanges those of
 * round t has saved its state after round t - 1; so a member that sees all scores of round t removes its own before t - 1. A member that
 * goes on from its state gives the scores of that round first, also after the last round, unless they are there.
 */

import * as v from "valibot";
import { InputError, say, setting, type Text } from "../../../kernels/errors.ts";
import { decodeSafetensors, encodeSafetensors, safetensorsMetadata } from "../../checkpoints/safetensors.ts";
import { saveTrainerState, usableTrainerState } from "../../checkpoints/trainer_state.ts";
import type { ModelConfig } from "../../model/shape.ts";
import { joinStates, sliceState } from "../../model/trainer_group.ts";
import type { RoundMetrics, RunEvent } from "../../run/events.ts";
import { entriesOf, oneLine, removeIfThere, sha256, writeAtomic } from "../../run/files.ts";
import { conform } from "../../run/schema.ts";
import type { RouterState } from "./train_routers.ts";

/** One of several processes that learn routers together, each a share of its models. */
export interface Member {
  /** Its number, from 0. */
  index: number;
  /** How many there are. */
  of: number;
  /** The first of its models. */
  first: number;
  /** How many these are. */
  count: number;
  /** Seconds that it waits for another that nobody runs. */
  patience: number;
  /** Says who runs another one; undefined where nobody does. */
  runner(index: number): Promise<string | undefined>;
}

/** What the processes that train routers together tell one another of a round. */
export interface RoundScores {
  /** Prefix NLLs of the round's sequences, nats, f32 `[rows, routers]`. */
  nll: Float32Array;
  /** Mean training loss of each router over the steps before, nats per predicted token `[routers]`. */
  trainingLoss: number[];
}

/** A share of the routers, of which other processes train the rest. */
export interface RouterShare {
  /** The first of its routers. */
  first: number;
  /** How many they are. */
  count: number;
  /** Training losses of its routers in the round that training resumes after `[count]`; none where it begins. */
  trainingLoss: number[];
  /** Gives the others what this process says of its own routers after so many rounds; `own` scores them unless that was done before. */
  give(round: number, own: () => Promise<RoundScores>): Promise<RoundScores>;
  /** Does the same, waits for the others, and returns what all say of all routers. */
  exchange(round: number, own: () => Promise<RoundScores>): Promise<RoundScores>;
}

/** What tells a learning from all others, and from one on another kind of device. */
export interface Learning {
  /** Hash of all that it depends on, the device among it. */
  key: string;
  /** The same without the device. */
  settings: string;
  /** The device. */
  adapter: string;
}

/** A state between two rounds, with what is known of the rounds so far. */
export interface SavedRounds extends RouterState {
  /** Metrics of the rounds so far. */
  rounds: RoundMetrics[];
  /** Identity of the clusters that learning began with. */
  start?: string;
}

const GROUP = "group";
const POLL_MS = [50, 2_000];
const LOOK_MS = 1_000; // between two looks whether somebody runs a member
const TELL_SECONDS = 60;

const nameOf = ({ index, of }: Pick<Member, "index" | "of">) => `${index}-of-${of}`;

/** Names the file that a member goes on from. */
const statePath = (folder: string, member: Pick<Member, "index" | "of">) =>
  `${folder}/${GROUP}/state-${nameOf(member)}.safetensors`;

/** Names the folder of the clusters that a member begins with. */
export const startFolder = (folder: string, member: Pick<Member, "index" | "of">): string =>
  `${folder}/${GROUP}/start-${nameOf(member)}`;

const scoresPath = (folder: string, member: Pick<Member, "index" | "of">, round: number) =>
  `${folder}/${GROUP}/scores-${nameOf(member)}-round-${round}.safetensors`;

/** Saves what a member goes on from. */
export async function saveMember(
  folder: string,
  { index, of }: Member,
  model: ModelConfig,
  learning: Learning,
  { trainer, ...progress }: SavedRounds,
): Promise<void> {
  await saveTrainerState(statePath(folder, { index, of }), model, trainer, { ...learning, ...progress });
}

/**
 * Reads what a member goes on from, of this learning and after at most so many rounds; undefined where there is none. Throws an
 * `InputError` where it was on another device and came further than `known` rounds.
 */
export async function savedMember(
  folder: string,
  member: Pick<Member, "index" | "of">,
  model: ModelConfig,
  learning: Learning,
  rounds: number,
  onDamaged?: (error: InputError) => void,
  known = 0,
): Promise<SavedRounds | undefined> {
  const path = statePath(folder, member);
  const saved = await usableTrainerState(path, model, onDamaged);
  const { key, settings, adapter, ...progress } = (saved?.notes ?? {}) as Partial<Learning & SavedRounds>;
  if (saved === undefined || settings !== learning.settings) return undefined;
  const { round, consumed, rounds: metrics, start } = progress as SavedRounds;
  if (key !== learning.key && round > known) throw otherDevice("go on", path, learning, adapter!);
  return round > rounds ? undefined : { round, consumed, rounds: metrics, start, trainer: saved.state };
}

/** Says that a member has learned on another kind of device. */
class OtherDeviceError extends InputError {}

function otherDevice(what: string, where: string, { adapter }: Learning, other: string): OtherDeviceError {
  return new OtherDeviceError(
    `Cannot ${what} as all routers must be learned on devices of one kind: this is "${adapter}", "${where}" is of "${other}"`,
    { where, remedy: say`run all on the same kind, or begin anew with ${setting("force")}` },
  );
}

/** Takes the share of a member from a state of all routers. */
export function shareOfState({ trainer, ...progress }: SavedRounds, { first, count }: Member): SavedRounds {
  return { ...progress, trainer: sliceState(trainer, first, count) };
}

/**
 * Puts together what the members of a group have learned, after at most so many rounds; undefined where none
 * has learned this further than the `known` rounds. Of groups of several sizes it takes one that has come
 * furthest, and is complete there if any is. Throws an `InputError` where one of them is missing, or has
 * come to another round, or they ran on another device than this one.
 */
export async function joinMembers(
  folder: string,
  model: ModelConfig,
  learning: Learning,
  rounds: number,
  known: number,
): Promise<SavedRounds & { of: number } | undefined> {
  const states = new Map<number, Map<number, SavedRounds>>(); // by members of the group, and number of the member
  for (const member of await savedMembers(folder)) {
    const saved = await savedMember(folder, member, model, learning, rounds, undefined, known);
    const all = states.get(member.of) ?? new Map<number, SavedRounds>();
    if (saved) states.set(member.of, all.set(member.index, saved));
  }
  const most = Math.max(
    0,
    ...[...states.values()].flatMap((all) => [...all.values()].map(({ round }) => round)),
  );
  if (most <= known) return undefined;
  const groups = [...states]
    .map(([of, all]) => Array.from({ length: of }, (_, index) => all.get(index)))
    .filter((members) => members.some((member) => member?.round === most));
  const isComplete = (members: (SavedRounds | undefined)[]) =>
    members.every((member) => member?.round === most);
  const members = groups.find(isComplete) ?? groups[0];
  const of = members.length;
  if (!isComplete(members)) {
    const standing = members.map((member, index) =>
      `${index} ${member ? `is after round ${member.round}` : "has no state"}`
    );
    throw new InputError(
      `Cannot put routers together as all members of their group must have come to the same round: ${
        standing.join(", ")
      }`,
      {
        where: `${folder}/${GROUP}`,
        remedy: say`let them go on, each with its ${setting("group")}, or begin anew with ${
          setting("force")
        }`,
      },
    );
  }
  return { of, ...members[0]!, trainer: joinStates(members.map((member) => member!.trainer)) };
}

/** Lists the members that have saved what they go on from. */
async function savedMembers(folder: string): Promise<Pick<Member, "index" | "of">[]> {
  return (await entriesOf(`${folder}/${GROUP}`)).flatMap(({ name }) => {
    const [, index, of] = /^state-(\d+)-of-(\d+)\.safetensors$/.exec(name) ?? [];
    return of === undefined ? [] : [{ index: Number(index), of: Number(of) }];
  });
}

/** Removes what members of all groups go on from, where one process begins anew. */
export async function forgetMembers(folder: string): Promise<void> {
  for (const member of await savedMembers(folder)) await removeIfThere(statePath(folder, member));
}

/** What {@linkcode exchanging} takes. */
export interface ExchangeOptions {
  /** Folder of the partitioner. */
  folder: string;
  /** Routers in all, E. */
  experts: number;
  /** What is learned. */
  learning: Learning;
  /** Whether all members begin anew: what others gave on another kind of device is of an earlier learning. */
  anew?: boolean;
  /** Training losses of the member's routers in the round that it resumes after; none where it begins. */
  trainingLoss: number[];
  /** Tells what happens. */
  emit(event: RunEvent): void;
  /** Ends the waiting. */
  signal?: AbortSignal;
}

/**
 * Makes the share of a member, which exchanges scores with the others through files. It waits for each of them; one that nobody runs is
 * named, and after `patience` the waiting ends as an interruption does: the same call goes on. It throws an
 * `InputError` where another one is so far ahead that it keeps the scores no more.
 */
export function exchanging(member: Member, options: ExchangeOptions): RouterShare {
  const { folder, experts, learning, anew = false, trainingLoss, emit, signal } = options;
  const { index, of, first, count } = member;
  const members = Array.from({ length: of }, (_, other) => other);

  async function give(round: number, own: () => Promise<RoundScores>): Promise<RoundScores> {
    const path = scoresPath(folder, member, round);
    const there = await readScores(path, learning).catch(() => undefined); // damaged: scored again
    if (there) return there;
    const mine = await own();
    await writeScores(path, mine, count, learning);
    return mine;
  }

  async function exchange(round: number, own: () => Promise<RoundScores>): Promise<RoundScores> {
    const mine = await give(round, own);
    const rows = mine.nll.length / count;
    const all = await Promise.all(
      members.map(async (other) => other === index ? mine : await scoresOf(other, round)),
    );
    const total = all.reduce((sum, { nll }) => sum + nll.length, 0);
    if (all.some(({ nll }) => nll.length % rows !== 0) || total !== rows * experts) {
      throw new InputError(
        `Cannot exchange scores as those of all members must be of the same ${rows} sequences and of ${experts} routers: ` +
          `they are ${all.map(({ nll }) => nll.length).join(", ")} numbers`,
        { where: `${folder}/${GROUP}`, remedy: say`begin anew with ${setting("force")}` },
      );
    }
    const nll = new Float32Array(rows * experts);
    let router = 0;
    for (const scores of all) {
      const routers = scores.nll.length / rows;
      for (let row = 0; row < rows; row++) {
        nll.set(scores.nll.subarray(row * routers, (row + 1) * routers), row * experts + router);
      }
      router += routers;
    }
    await removeScores(folder, member, (other) => other < round - 1);
    return { nll, trainingLoss: all.flatMap(({ trainingLoss }) => trainingLoss) };
  }

  /** Waits for the scores of another member. */
  async function scoresOf(other: number, round: number): Promise<RoundScores> {
    const path = scoresPath(folder, { index: other, of }, round);
    const start = performance.now();
    const secondsSince = (time: number) => (performance.now() - time) / 1000;
    const tellAfter = Math.min(TELL_SECONDS, member.patience / 2);
    let [looked, seen, told] = [-Infinity, start, false];
    for (let pause = POLL_MS[0];; pause = Math.min(1.5 * pause, POLL_MS[1])) {
      const scores = await readScores(path, learning).catch((error) => {
        // Who begins anew, too, removes what it gave before; until then that is no part of this.
        if (anew && error instanceof OtherDeviceError) return error;
        throw error;
      });
      const foreign = scores instanceof OtherDeviceError ? scores : undefined;
      if (scores && !(scores instanceof OtherDeviceError)) return scores;
      signal?.throwIfAborted();
      if (performance.now() - looked >= LOOK_MS || secondsSince(seen) >= member.patience) {
        const runner = await member.runner(other);
        looked = performance.now();
        if (runner !== undefined && !foreign) seen = looked;
        const gone = secondsSince(seen) >= member.patience;
        if (gone && foreign) throw foreign;
        if (gone || !told && secondsSince(start) >= tellAfter) {
          told = true;
          if (runner !== undefined) await refuseLost(other, round, runner);
          emit({
            type: "warning",
            message: foreign ? foreign.what : await missingText(other, round, runner),
          });
        }
        if (gone) {
          throw new DOMException(
            `nobody has run member ${other} of ${of} for ${member.patience} s`,
            "AbortError",
          );
        }
      }
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }

  /**
   * Throws an `InputError` where another member works in a later round of this learning and keeps the scores of
   * this one no more: this member begins although others have its scores of later rounds, so it has lost its state.
   */
  async function refuseLost(other: number, round: number, runner: string): Promise<void> {
    const later = Math.max(0, ...await scoredRounds(folder, { index: other, of }));
    if (later <= round + 1) return;
    const path = scoresPath(folder, { index: other, of }, later);
    if (!await readScores(path, learning).catch(() => undefined)) return; // of an earlier learning
    const where = statePath(folder, member);
    throw new InputError(
      `Cannot train member ${index} of ${of} as the others must have the scores of round ${round} for it: ${runner} runs member ${other}, which is after round ${later} and keeps them no more`,
      {
        where,
        remedy: say`put "${where}" back, which is lost, or end all members and begin anew with ${
          setting("force")
        }, each of them`,
      },
    );
  }

  /** Says who is waited for. */
  async function missingText(other: number, round: number, runner: string | undefined): Promise<Text> {
    const begin = `waits for the scores of round ${round} of member ${other} of ${of}`;
    if (runner !== undefined) {
      const rounds = await scoredRounds(folder, { index: other, of });
      const isBehind = round > 2 && rounds.every((known) => known < round - 1);
      return isBehind
        ? `${begin}, which ${runner} runs: it has lost its state and begins anew`
        : `${begin}, which ${runner} runs`;
    }
    return say`${begin}, which nobody runs: it is started with ${setting("group", `${other}/${of}`)}`;
  }

  return { first, count, trainingLoss, give, exchange };
}

/** Removes what a member that begins anew gave others before: they wait for what it gives them now. */
export async function forgetScores(folder: string, member: Pick<Member, "index" | "of">): Promise<void> {
  await removeScores(folder, member, () => true);
}

async function removeScores(
  folder: string,
  member: Pick<Member, "index" | "of">,
  isGone: (round: number) => boolean,
): Promise<void> {
  for (const round of await scoredRounds(folder, member)) {
    if (isGone(round)) await removeIfThere(scoresPath(folder, member, round));
  }
}

/** Lists the rounds whose scores of a member are there. */
async function scoredRounds(folder: string, member: Pick<Member, "index" | "of">): Promise<number[]> {
  const pattern = new RegExp(`^scores-${nameOf(member)}-round-(\\d+)\\.safetensors$`);
  return (await entriesOf(`${folder}/${GROUP}`)).flatMap(({ name }) => pattern.exec(name)?.[1] ?? []).map(
    Number,
  );
}

const SCORES = v.object({
  key: v.string(),
  settings: v.string(),
  adapter: v.string(),
  trainingLoss: v.pipe(v.string(), v.parseJson(), v.array(v.number())),
  sha256: v.string(),
});

async function writeScores(
  path: string,
  scores: RoundScores,
  routers: number,
  learning: Learning,
): Promise<void> {
  const { nll, trainingLoss } = scores;
  if (trainingLoss.length !== routers) {
    throw new InputError(
      `Cannot write "${path}" as it must hold a training loss of each of its ${routers} routers: there are ${trainingLoss.length}`,
      { where: path, remedy: say`begin anew with ${setting("force")}` },
    );
  }
  const tensors = new Map([["nll", { shape: [nll.length / routers, routers], values: nll }]]);
  const metadata = { ...learning, trainingLoss: JSON.stringify(trainingLoss), sha256: checksum(nll) };
  await writeAtomic(path, encodeSafetensors(tensors, { metadata }));
}

/**
 * Reads the scores of a member; undefined where there are none of this learning. Throws an `InputError` where they are damaged, or where
 * the member runs on another device.
 */
async function readScores(path: string, learning: Learning): Promise<RoundScores | undefined> {
  let file: Uint8Array;
  try {
    file = await Deno.readFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
  const fail = (reason: string) =>
    new InputError(`Cannot read "${path}" as it must hold the scores of a round: ${reason}`, {
      where: path,
      remedy: "remove it: the member that made it makes it again when it is started again",
    });
  const { values: nll, shape } = decodeSafetensors(file, path).get("nll") ?? {};
  let metadata: v.InferOutput<typeof SCORES>;
  try {
    metadata = conform(SCORES, safetensorsMetadata(file, path));
  } catch (cause) {
    throw fail(oneLine(cause));
  }
  if (metadata.settings !== learning.settings) return undefined;
  if (metadata.key !== learning.key) throw otherDevice("exchange scores", path, learning, metadata.adapter);
  if (nll === undefined || checksum(nll) !== metadata.sha256) {
    throw fail("its checksum is not that of its content");
  }
  const { trainingLoss } = metadata;
  if (trainingLoss.length !== shape?.[1]) {
    throw fail(`it has ${trainingLoss.length} training losses of ${shape?.[1]} routers`);
  }
  return { nll, trainingLoss };
}

const checksum = (values: Float32Array): string =>
  sha256(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
