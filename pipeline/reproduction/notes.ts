/**
 * The notes of a folder of studies: what searches found (`rates.json`, `routers.json`), and what single runs came to, a small file each. So
 * a study goes on where a run itself lies on another machine or is gone.
 *
 * @module
 */

import * as v from "valibot";
import { InputError, say, setting } from "../../kernels/errors.ts";
import { RATE_SEARCH, type Searched } from "../report/reproduction.ts";
import { jsonText, listEntries, sha256, withRemedy, writeAtomic } from "../run/files.ts";
import { canonical, readJsonIfThere, type Schema, seal, sealed } from "../run/schema.ts";
import { takeLock } from "../graph/lock.ts";
import { type Node, withNeeds } from "../graph/node.ts";
import { evaluateNodes } from "../stages/evaluate.ts";
import { STAGES } from "../stages/stages.ts";
import { lookAtText, type Text } from "../stages/text.ts";
import { tokensNode } from "../stages/token_rows.ts";
import { trainNodes } from "../stages/train.ts";
import type { Configuration } from "../settings/configuration.ts";
import type { Grid, Known } from "./grid.ts";
import { findTargets } from "./models.ts";
import { RATES, ROUTER_SEARCH } from "./search.ts";
import { OUTCOME } from "./outcome.ts";
import type { Choices, Outcome, Setup } from "./study.ts";

const FORMAT = 1;
const PAUSE_MS = 100; // between two looks whether another process has written

/** Writes what all processes of a folder share, one process at a time. */
export async function alone(root: string, write: () => Promise<void>, signal?: AbortSignal): Promise<void> {
  for (;;) {
    const lock = await takeLock(root, "notes", "reproduce");
    if ("release" in lock) return await write().finally(lock.release);
    signal?.throwIfAborted();
    await new Promise((done) => setTimeout(done, PAUSE_MS));
  }
}

/** Reads a note, which is `what`; null where there is none. Throws an `InputError` that says how to go on without it where it is damaged. */
const readFound = async <T>(path: string, schema: Schema<T>, what: string): Promise<T | null> =>
  await readJsonIfThere(path, schema, what).catch(withRemedy(`remove "${path}": what it held is made again`));

/** The files of what searches found, by recipe. */
const [RATES_FILE, ROUTERS_FILE] = ["rates.json", "routers.json"];
const RATES_FOUND = v.object({ format: v.literal(FORMAT), rates: v.record(v.string(), RATE_SEARCH) });
const ROUTERS_FOUND = v.object({ format: v.literal(FORMAT), routers: v.record(v.string(), ROUTER_SEARCH) });

/** Reads what searches found in folders of studies: of one recipe the first of them holds. Throws an `InputError` where it is damaged. */
export async function readKnown(...folders: string[]): Promise<Known> {
  const known: Known = { rates: {}, searches: {} };
  for (const folder of folders.toReversed()) {
    const [rates, routers] = [`${folder}/${RATES_FILE}`, `${folder}/${ROUTERS_FILE}`];
    Object.assign(
      known.rates,
      (await readFound(rates, RATES_FOUND, "learning rates that were found"))?.rates,
    );
    Object.assign(
      known.searches,
      (await readFound(routers, ROUTERS_FOUND, "settings of routers that were found"))?.routers,
    );
  }
  return known;
}

/** Gives the files of what searches found: the same text in whichever order that was. */
export function knownFiles({ rates, searches }: Known): [file: string, text: string][] {
  const all = [[RATES_FILE, "rates", rates], [ROUTERS_FILE, "routers", searches]] as const;
  return all.filter(([, , found]) => Object.keys(found).length > 0).map(([file, key, found]) => {
    const sorted = Object.entries(found).sort(([a], [b]) => a < b ? -1 : 1);
    return [file, jsonText({ format: FORMAT, [key]: Object.fromEntries(sorted) })];
  });
}

/** Notes what searches found; of one recipe that which is there stays, as runs may go by it already. */
export async function writeKnown(root: string, { rates, searches }: Partial<Known>): Promise<void> {
  await alone(root, async () => {
    const there = await readKnown(root);
    const all = { rates: { ...rates, ...there.rates }, searches: { ...searches, ...there.searches } };
    for (const [file, text] of knownFiles(all)) await writeAtomic(`${root}/${file}`, text);
  });
}

const NOTE = sealed(v.object({
  format: v.literal(FORMAT),
  made: v.optional(v.record(v.string(), v.string()), {}), // notes of before runs were graphs fit no run of today
  choices: v.record(v.string(), v.unknown()),
  outcome: OUTCOME,
}));

/** What a run came to, and what it was made of: hashes of its nodes as planned, of the partition and of each model. */
type Note = v.InferOutput<typeof NOTE>;

/** Gives the path of the note of a run in a folder of studies. */
export const noteFile = (run: string): string => `outcomes/${run}.json`;

/** Lists the runs of which a folder of studies notes what they came to. */
export const namesOfNotes = async (root: string): Promise<string[]> =>
  (await listEntries(`${root}/outcomes`)).map(({ name }) => name)
    .filter((name) => name.endsWith(".json")).map((name) => name.slice(0, -".json".length)).sort();

/** Reads what a folder of studies notes of a run; null where it notes nothing. Throws an `InputError` where that is damaged. */
export const readNote = async (root: string, run: string): Promise<Note | null> =>
  await readFound(`${root}/${noteFile(run)}`, NOTE, "what a run came to");

/** Reads and writes what the runs of a grid came to. The text is looked at once. */
export class Notes {
  #text?: Promise<Text>;

  /** What a run came to is looked for in a folder of studies, and then in folders elsewhere. */
  constructor(
    private readonly grid: Grid,
    private readonly root: string,
    private readonly from: readonly string[] = [],
  ) {}

  /**
   * Finds the note of a run of the same settings, text and learning rates, with at least its models and its choices. It must be as this
   * version would make it. With `keep` one from elsewhere is copied. Throws an `InputError` where a note of that name is damaged.
   */
  async find(setup: Setup, rates: Known["rates"], keep = false): Promise<Outcome | undefined> {
    const known = this.grid.rates(setup, rates);
    if (!known) return undefined;
    const file = noteFile(setup.name);
    for (const folder of [this.root, ...this.from]) {
      const note = await readNote(folder, setup.name);
      if (!note || !covers(note.choices, setup.choices)) continue;
      const made = await this.#made(setup.models, { ...this.grid.configuration(setup), ...known });
      if (!made || !Object.entries(made).every(([name, hash]) => note.made[name] === hash)) continue;
      if (keep && folder !== this.root) {
        const bytes = await Deno.readFile(`${folder}/${file}`);
        await alone(this.root, async () => void await writeAtomic(`${this.root}/${file}`, bytes));
      }
      return { setup, ...note.outcome };
    }
  }

  /** Notes what a run came to. Nothing is noted where the text can be read only once. */
  async write({ setup, ...outcome }: Outcome): Promise<void> {
    const models = Object.keys(outcome.trained) as Searched[];
    const rates = models.map((model) => [RATES[model], outcome.trained[model]![0].rate]);
    const c = { ...this.grid.configuration(setup), ...Object.fromEntries(rates) };
    const made = await this.#made(models, c);
    if (!made) return;
    const note: Note = { format: FORMAT, made, choices: { ...setup.choices }, outcome };
    const path = `${this.root}/${noteFile(setup.name)}`;
    await alone(this.root, async () => void await writeAtomic(path, jsonText(seal(note))));
  }

  /** Hashes what the graph of a run with these models would be made of; undefined where its text can be read only once. */
  async #made(models: readonly Searched[], c: Configuration): Promise<Record<string, string> | undefined> {
    if (c.input.includes("-")) return undefined;
    const text = await (this.#text ??= lookAtText("", c)); // no study varies it
    const blocks = text.blocks ?? [{ name: "", id: 0, pieces: [], bytes: 0 }]; // its node says what the corpus is
    const hash = (nodes: readonly Node[]) =>
      sha256(canonical(nodes.map(({ name, revision, settings }) => ({ name, revision, settings }))));
    const evaluation = await evaluateNodes({ configuration: c, tokens: blocks.map(tokensNode), models: [] });
    const of = { configuration: c, text, blocks };
    const parts = [];
    for (const stage of STAGES.values()) parts.push(...await stage.nodes?.(of) ?? []);
    const isPart = ({ name }: Node) => name.startsWith("partition/expert-"); // others tell of paths
    const made: Record<string, string> = {
      partition: hash([...text.unpacked, ...withNeeds(parts, isPart)]),
      evaluation: hash(evaluation),
    };
    for (const model of models) {
      made[model] = hash(await trainNodes(c, findTargets(model, c), []));
    }
    return made;
  }
}

/** Whether an evaluation by some choices tells what is asked: at least these prefixes, and else the same. */
function covers(noted: Note["choices"], { routeLengths = [], ...asked }: Choices = {}): boolean {
  const measured = Array.isArray(noted.routeLengths) ? noted.routeLengths : [];
  return routeLengths.every((length) => measured.includes(length)) &&
    Object.entries(asked).every(([name, choice]) => canonical(choice) === canonical(noted[name]));
}

/** Throws an `InputError` where a folder holds nothing of studies, or what it holds is damaged. */
export async function checkHolds(folder: string): Promise<void> {
  const names = await namesOfNotes(folder);
  for (const name of names) await readNote(folder, name);
  if (names.length > 0 || knownFiles(await readKnown(folder)).length > 0) return;
  const must = say`${setting("from")} must be a folder of studies, or of their results`;
  const found = `there are no outcomes of runs, no ${RATES_FILE} and no ${ROUTERS_FILE}`;
  throw new InputError(say`Cannot go on from "${folder}" as ${must}: ${found}`, { where: folder });
}
