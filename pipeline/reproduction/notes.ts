/**
 * The notes of a folder of studies: what searches found (`rates.json`, `routers.json`), and what single runs came to, a small file each, so
 * that a study goes on where a run itself lies on another machine or is gone.
 *
 * @module
 */

import * as v from "valibot";
import { InputError, say, setting } from "../../kernels/errors.ts";
import type { Searched } from "../report/reproduction.ts";
import { RATE_SEARCH } from "../report/reproduction.ts";
import { entriesOf, jsonText, sha256, withRemedy, writeAtomic } from "../run/files.ts";
import { readJsonIfThere, type Schema } from "../run/schema.ts";
import { canonical, isSealed, seal } from "../run/seal.ts";
import { takeLock } from "../graph/lock.ts";
import { type Node, withNeeds } from "../graph/node.ts";
import { pricesOf } from "../stages/assign.ts";
import { evaluateNodes } from "../stages/evaluate.ts";
import { STAGES } from "../stages/stages.ts";
import { lookAtText, type Text } from "../stages/text.ts";
import { tokensOf } from "../stages/tokenize.ts";
import { trainNodes } from "../stages/train.ts";
import type { Configuration } from "../settings/configuration.ts";
import type { Grid, Known } from "./grid.ts";
import { RATES, targetsOf } from "./models.ts";
import { OUTCOME } from "./outcome.ts";
import { ROUTER_SEARCH } from "./search.ts";
import { STUDIES } from "./studies.ts";
import { type Choices, type Outcome, seedsAmong, type Setup } from "./study.ts";

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

/** What searches found, by recipe, in one file of a folder of studies. */
export class Findings<T> {
  constructor(
    readonly file: string,
    private readonly key: string,
    private readonly schema: Schema<T>,
    private readonly what: string,
  ) {}

  /** Gives what the file holds where these are all findings: the same, in whichever order they were found. */
  text(found: Record<string, T>): string {
    const sorted = Object.keys(found).sort().map((recipe) => [recipe, found[recipe]]);
    return jsonText({ format: 1, [this.key]: Object.fromEntries(sorted) });
  }

  /** Reads what a folder notes. Throws an `InputError` where it is damaged. */
  async read(root: string): Promise<Record<string, T>> {
    const whole = v.object({ format: v.literal(1), [this.key]: v.record(v.string(), this.schema) });
    return ((await readFound(`${root}/${this.file}`, whole, this.what))?.[this.key] ?? {}) as Record<
      string,
      T
    >;
  }

  /** Notes more beside what is there; of one recipe that which is there stays, as runs may go by it already. */
  async write(root: string, found: Record<string, T>): Promise<void> {
    const all = { ...found, ...await this.read(root) };
    if (Object.keys(all).length > 0) await writeAtomic(`${root}/${this.file}`, this.text(all));
  }
}

/** The learning rates that the studies of a folder found. */
export const RATES_FOUND = new Findings("rates.json", "rates", RATE_SEARCH, "learning rates that were found");
/** The settings of routers that they found. */
export const ROUTERS_FOUND = new Findings(
  "routers.json",
  "routers",
  ROUTER_SEARCH,
  "settings of routers that were found",
);

/** Reads what searches found in folders of studies: of one recipe the first of them holds. */
export async function readKnown(...folders: string[]): Promise<Known> {
  const all = await Promise.all(
    folders.toReversed().map(async (folder): Promise<Known> => ({
      rates: await RATES_FOUND.read(folder),
      searches: await ROUTERS_FOUND.read(folder),
    })),
  );
  return {
    rates: Object.assign({}, ...all.map(({ rates }) => rates)),
    searches: Object.assign({}, ...all.map(({ searches }) => searches)),
  };
}

/** Notes what searches found. */
export async function writeKnown(root: string, { rates = {}, searches = {} }: Partial<Known>): Promise<void> {
  await alone(root, async () => {
    await RATES_FOUND.write(root, rates);
    await ROUTERS_FOUND.write(root, searches);
  });
}

const FORMAT = 1;
const NOTE = v.pipe(
  v.record(v.string(), v.unknown()),
  v.check((note) => isSealed(note, FORMAT), "its checksum must be that of everything else in it: it is not"),
  v.object({
    format: v.literal(FORMAT),
    made: v.optional(v.record(v.string(), v.string()), {}), // notes of before runs were graphs fit no run of today
    choices: v.record(v.string(), v.unknown()),
    outcome: OUTCOME,
  }),
);

/** What a run came to, and what it was made of: hashes of its nodes as planned, of the partition and of each model. */
export type Note = v.InferOutput<typeof NOTE>;

const OUTCOMES = "outcomes";

/** Gives the path of the note of a run in a folder of studies. */
export const noteFile = (run: string): string => `${OUTCOMES}/${run}.json`;

/** Lists the runs of which a folder of studies notes what they came to. */
export async function namesOfNotes(root: string): Promise<string[]> {
  return (await entriesOf(`${root}/${OUTCOMES}`)).map(({ name }) => name)
    .filter((name) => name.endsWith(".json")).map((name) => name.slice(0, -".json".length)).sort();
}

/** Reads what a folder of studies notes of a run; null where it notes nothing. Throws an `InputError` where that is damaged. */
export async function readNote(root: string, run: string): Promise<Note | null> {
  const where = `${root}/${noteFile(run)}`;
  const head = await readJsonIfThere(where, v.object({ format: v.number() }), "").catch(() => null);
  if (head && head.format > FORMAT) {
    const what = `Cannot read "${where}" as its format must be at most ${FORMAT}: it is ${head.format}`;
    throw new InputError(what, { where, remedy: "use the version that wrote it" });
  }
  return await readFound(where, NOTE, "what a run came to");
}

/** Reads and writes what the runs of a grid came to. The text is looked at once. */
export class Notes {
  #text?: Promise<Text>;

  constructor(private readonly grid: Grid) {}

  /**
   * Finds the run of a setup in a folder's notes: of the same settings, text and learning rates, with at least its models and its choices,
   * and as this version would make it. Throws an `InputError` where a note of that name is damaged.
   */
  async find(root: string, setup: Setup, rates: Known["rates"]): Promise<Outcome | undefined> {
    const note = await readNote(root, setup.name);
    const known = this.grid.rates(setup, rates);
    if (!note || !known || !covers(note.choices, setup.choices)) return undefined;
    const made = await this.#made(setup.models, { ...this.grid.configuration(setup), ...known });
    const fits = made && Object.entries(made).every(([name, hash]) => note.made[name] === hash);
    return fits ? { setup, ...note.outcome } : undefined;
  }

  /** Notes what a run came to. Nothing is noted where the text can be read only once. */
  async write(root: string, { setup, ...outcome }: Outcome): Promise<void> {
    const models = Object.keys(outcome.trained) as Searched[];
    const rates = models.map((model) => [RATES[model], outcome.trained[model]![0].rate]);
    const made = await this.#made(models, {
      ...this.grid.configuration(setup),
      ...Object.fromEntries(rates),
    });
    if (!made) return;
    const note: Note = { format: FORMAT, made, choices: { ...setup.choices }, outcome };
    await alone(root, async () => {
      await writeAtomic(`${root}/${noteFile(setup.name)}`, jsonText(seal(note)));
    });
  }

  /** Hashes what the graph of a run with these models would be made of; undefined where its text can be read only once. */
  async #made(models: readonly Searched[], c: Configuration): Promise<Record<string, string> | undefined> {
    if (c.input.includes("-")) return undefined;
    const text = await (this.#text ??= lookAtText("", c)); // no study varies it
    const blocks = text.blocks ?? [{ name: "", id: 0, pieces: [], bytes: 0 }]; // its node says what the corpus is
    const hash = (nodes: readonly Node[]) =>
      sha256(canonical(nodes.map(({ name, revision, settings }) => ({ name, revision, settings }))));
    const evaluation = await evaluateNodes({ configuration: c, tokens: blocks.map(tokensOf), models: [] });
    const of = { configuration: c, text, blocks, prices: await pricesOf(c) };
    const parts = [];
    for (const stage of STAGES.values()) parts.push(...await stage.nodes?.(of) ?? []);
    const isPart = ({ name }: Node) => name.startsWith("partition/expert-"); // others tell of paths
    const made: Record<string, string> = {
      partition: hash([...text.unpacked, ...withNeeds(parts, isPart)]),
      evaluation: hash(evaluation),
    };
    for (const model of models) {
      const files = { needs: [], files: () => ({ train: [], test: [] }) };
      made[model] = hash(await trainNodes(c, targetsOf(model, c).map((target) => ({ target, text: files }))));
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
  const { rates, searches } = await readKnown(folder);
  const names = await namesOfNotes(folder);
  for (const name of names) await readNote(folder, name);
  if ([names, rates, searches].some((one) => Object.keys(one).length > 0)) return;
  throw new InputError(
    say`Cannot go on from "${folder}" as ${
      setting("from")
    } must be a folder of studies, or of their results: there are no outcomes of runs, no ${RATES_FOUND.file} and no ${ROUTERS_FOUND.file}`,
    { where: folder },
  );
}

/**
 * Copies what folders elsewhere know into a folder of studies: what searches found, and notes of runs that these studies need, or others
 * would with these settings, where those of the folder do not tell of them.
 */
export async function takeIn(root: string, from: readonly string[], grid: Grid, known: Known): Promise<void> {
  const names = (await Promise.all([root, ...from].map(namesOfNotes))).flat();
  const most = Math.max(grid.seeds, seedsAmong(names));
  const others = [...STUDIES.values()].flatMap((study) => grid.with([study], most).runs(known));
  const notes = new Notes(grid);
  for (const setup of from.length === 0 ? [] : [...grid.runs(known), ...others]) {
    if (await notes.find(root, setup, known.rates).catch(() => undefined)) continue;
    for (const folder of from) {
      if (!await notes.find(folder, setup, known.rates)) continue;
      const file = noteFile(setup.name);
      const bytes = await Deno.readFile(`${folder}/${file}`);
      await alone(root, async () => void await writeAtomic(`${root}/${file}`, bytes));
      break;
    }
  }
  if (from.length > 0) await writeKnown(root, known);
}
