/**
 * What a run that derives from another one keeps of it, what changes, and what becomes of each expert. It is written when the run begins. The
 * other run is needed until what is kept has been linked, and never changed.
 *
 *     derived/             derivation.json
 *     before/expert-02/    a model that goes on, as it was
 *
 * @module
 */

import * as v from "valibot";
import { InputError } from "../../kernels/errors.ts";
import { linkFiles, writePages } from "../graph/folder.ts";
import {
  DERIVED,
  expertFolder,
  hashFiles,
  type Making,
  type Manifest,
  type Node,
  oneByOne,
  partNode,
  readManifest,
  TOKENIZER,
  TOKENIZER_FILE,
} from "../graph/node.ts";
import type { Rows } from "../rows/random_access.ts";
import { jsonText, writeAtomic } from "../graph/files.ts";
import { count, finite, readJsonIfThere, share } from "../graph/schema.ts";
import { TOKENIZER_CONFIG } from "../text/tokenizer.ts";
import { INDEXED } from "./documents.ts";
import { partIn } from "./parts.ts";
import { expertTarget, goingOn, type Target } from "./targets.ts";
import { assignmentNode, openNeeded } from "./token_rows.ts";

const FILE = "derivation.json";

const DOCUMENT = v.object({
  ...{ document: v.string(), path: v.string(), place: count, sha256: v.string(), source: v.string() },
  side: v.picklist(["train", "test"]),
});

const SCHEMA = v.object({
  from: v.string(),
  version: v.string(),
  blocks: v.array(INDEXED),
  kept: v.record(v.string(), v.string()),
  partitioner: v.string(),
  grouped: v.object({ experts: count, starts: v.array(count) }),
  parts: v.array(count),
  trained: v.record(v.string(), v.object({ part: v.string(), passes: finite })),
  ...{ forgotten: v.array(DOCUMENT), forgottenBefore: v.array(DOCUMENT) },
  added: v.array(v.string()),
  template: v.string(),
  replay: share,
  ...{ origins: v.array(v.nullable(count)), dropped: v.nullable(count), split: v.nullable(count) },
  stays: v.boolean(),
  relearned: v.boolean(),
  ...{ tuned: v.boolean(), fresh: v.boolean(), epochs: finite },
  replaced: v.array(v.object({ expert: count, from: v.string() })),
});

/**
 * A document that is forgotten: its id, its place and the hash of its text.
 *
 * @ignore Its type is inferred.
 */
export type Forgotten = v.InferOutput<typeof DOCUMENT>;

/**
 * What a run derives from. `from` is the other run, `version` made it. `blocks` are its blocks of text; `grouped` says for how many experts they
 * were put into groups, and before which ones text was added. `kept` has the keys of nodes that may be linked, by name; `partitioner` is the
 * name of one of them, or a path. `parts` has the training sequences of each expert, `trained` what is known of those that are trained: the
 * hash of the training shards, and how often each sequence was seen.
 *
 * What changes: documents that are `forgotten` (`forgottenBefore` on the way to the other run); inputs that are `added`, also as pairs that
 * models are `tuned` on for so many `epochs`, and whether routers learn their prompts as well, `fresh`; the chat `template` of the other run, or of pairs, "" for
 * none; the share of old sequences among those that experts go on with, `replay`; whether everything is learned again, `relearned`;
 * checkpoints by which experts are `replaced`. `origins` names for each expert the one of the other run that it was: null is new, one that is
 * missing was `dropped`, one that is there twice was `split`. With `stays` experts stay as they are although their text does not.
 *
 * @ignore Its type is inferred.
 */
export type Derivation = v.InferOutput<typeof SCHEMA>;

/** Reads what a run derives from; null where it derives from none. */
export const readDerivation = (run: string): Promise<Derivation | null> =>
  readJsonIfThere(`${run}/${DERIVED}/${FILE}`, SCHEMA, "what a run derives from");

/** Gives a derivation as it is read, without what does not belong there: what is written again has the same bytes. */
export const toDerivation = (known: Derivation): Derivation => v.parse(SCHEMA, known);

/** Writes what a run derives from. */
export const writeDerivation = (run: string, derivation: Derivation): Promise<void> =>
  writePages(run, DERIVED, { [FILE]: jsonText(derivation) });

/** Whether an expert of the other run may go on from its weights: on text that it gets, or on its half of a part that is split. */
export function mayGoOn({ added, origins, dropped, split, stays }: Derivation, expert: number): boolean {
  return added.length > 0 && !origins.includes(null) || dropped !== null && !stays || expert === split;
}

/** Dense models, which are tuned next to the experts. */
export const DENSE = ["dense", "dense-steps"];

/** Names the file, in the node of the assignment, of the sequences that an expert got from one that was dropped. */
export const movedFile = (expert: number, experts: number): string =>
  `moved-${expertFolder(expert, experts)}.arrow`;

/** What becomes of experts: as a lineage says it afterwards, and as a plan does. */
export const EXPERT_STATES = {
  kept: ["kept", "keeps its bytes"],
  "from the start": ["trained again from the start", "is trained again on what is left"],
  "goes on": ["trained further", "goes on, with text that it gets and old"],
  replaced: ["replaced", "gives its place to another checkpoint"],
  "no text left": ["without text", "has no text left to learn from"],
  new: ["new", "learns the added text"],
  split: ["split off", "begins with the weights of the one that is split"],
  tuned: ["tuned", "is tuned on its pairs"],
  "not trained": ["not trained", "is not trained"],
} as const;

/** What becomes of an expert. */
export interface DerivedExpert {
  /** Its id. */
  expert: number;
  /** Its id in the other run; null of a new one. */
  was: number | null;
  /** One of {@linkcode EXPERT_STATES}: prompts that are routed to one of which no text is left fail. */
  state: keyof typeof EXPERT_STATES;
  /** Its training sequences before, and now where they are known. */
  sequences: { before: number; now?: number };
}

/** A step from one run to the next. */
export interface LineageStep {
  /** The run. */
  run: string;
  /** The one that it derives from. */
  from: string;
  /** How many documents it has forgotten. */
  forgotten: number;
  /** Inputs that were added. */
  added: readonly string[];
  /** The expert of the other run that was dropped; null for none. */
  dropped: number | null;
  /** Its experts. Before its parts are made there are none, and a plan does not know which ones added text touches. */
  experts: DerivedExpert[];
}

/** Reports from which run a run derives, and that from which, as far as they are here. */
export async function readLineageSteps(run: string, seen: readonly string[] = []): Promise<LineageStep[]> {
  const derivation = await readDerivation(run), real = await Deno.realPath(run).catch(() => run);
  if (!derivation || seen.includes(real)) return []; // a run may have taken the place of the one that it derives from
  const { from, forgotten, added, dropped } = derivation;
  const experts = await derivedExperts(run, derivation);
  const step = { run, from, forgotten: forgotten.length, added, dropped, experts };
  return [step, ...await readLineageSteps(from, [...seen, real])];
}

/**
 * Tells what becomes of an expert that is `touched`, or of one that stays as it is although it may have other text; `now` is the number of its
 * training sequences, where that is known.
 */
export function tellState(
  derivation: Derivation,
  expert: number,
  { touched, now }: { touched: boolean; now?: number },
): DerivedExpert {
  const { origins, trained, parts, tuned, replaced } = derivation, was = origins[expert];
  const findState = (): DerivedExpert["state"] => {
    if (replaced.some((one) => one.expert === expert)) return "replaced";
    if (was === null && Object.keys(trained).length > 0) return "new";
    if (was === null || !trained[was]) return "not trained";
    if (!touched) return "kept";
    if (tuned) return "tuned";
    if (now === 0) return "no text left";
    if (!mayGoOn(derivation, was)) return "from the start";
    return derivation.split === null ? "goes on" : "split";
  };
  return { expert, was, state: findState(), sequences: { before: was === null ? 0 : parts[was], now } };
}

/** Reports what becomes of an expert by its part in the derived run; null where that is not there yet. */
export async function readState(
  run: string,
  derivation: Derivation,
  expert: number,
): Promise<DerivedExpert | null> {
  const { origins, trained, tuned, relearned, stays } = derivation, was = origins[expert];
  const name = partNode(expert, origins.length), part = await readManifest(`${run}/${name}`);
  if (!part) return null;
  const now = partIn(name, part).train.sequences, before = was === null ? undefined : trained[was]?.part;
  const isSame = tuned ? now === 0 : stays || !relearned && hashFiles(part, "train-") === before;
  return tellState(derivation, expert, { touched: !isSame, now });
}

/** Reports what became of every expert, once the parts of the derived run are there. */
export async function derivedExperts(run: string, derivation: Derivation): Promise<DerivedExpert[]> {
  const found = derivation.origins.map((_, expert) => readState(run, derivation, expert));
  const experts = (await Promise.all(found)).filter((expert) => expert !== null);
  return experts.length === found.length ? experts : [];
}

/** Words what changed in a step: documents, inputs and experts. */
export function stepText({ forgotten, added, dropped, experts }: LineageStep): string {
  const states = [...Map.groupBy(experts, ({ state }) => state)].map(([state, own]) => {
    const ids = own.map(({ expert }) => expert).join(", ");
    const which = own.length === experts.length
      ? "all experts"
      : `${own.length > 1 ? "experts" : "expert"} ${ids}`;
    return `${which} ${EXPERT_STATES[state][0]}`;
  });
  const text = [
    ...forgotten > 0 ? [`${forgotten} ${forgotten === 1 ? "document" : "documents"} forgotten`] : [],
    ...dropped === null ? [] : [`expert ${dropped} dropped`],
    ...added.length > 0 ? [`added ${added.join(", ")}`] : [],
  ];
  return [...text, ...states].join("; ");
}

/** Manifests of the other run that were read, by what is kept of it: one may list many blocks. */
const read = new WeakMap<Derivation["kept"], Map<string, Promise<Manifest | null>>>();

/** Gives the folder of the other run that a node of a derived one is made of, and its manifest. That must be the one that was planned. */
export async function nodeBefore(
  { from, kept }: Derivation,
  name: string,
): Promise<{ path: string; manifest: Manifest }> {
  const path = name.startsWith("/") ? name : `${from}/${name}`;
  const manifest = await read.getOrInsertComputed(kept, () => new Map()).getOrInsertComputed(
    path,
    readManifest,
  );
  if (manifest?.key === kept[name]) return { path, manifest };
  const fact = manifest ? "it was made anew meanwhile" : "it is not there";
  throw new InputError(
    `Cannot derive from "${from}" as it must be as it was when that was planned: ${fact}`,
    { where: path, remedy: "derive again, into another folder" },
  );
}

/** Makes a node that is linked from the other run, where it is called `where`; `add` puts something else into its folder. */
export function keptNode(
  stage: string,
  name: string,
  derivation: Derivation,
  { where = name, add, settings, ...more }:
    & Partial<Pick<Node, "needs" | "links" | "settings">>
    & { where?: string; add?(making: Making): Promise<void> } = {},
): Node {
  return {
    ...{ name, needs: [], ...more, settings: { kept: derivation.kept[where], ...settings }, revision: 1 },
    maker: oneByOne(stage, async (making) => {
      const { path, manifest: { files, result } } = await nodeBefore(derivation, where);
      await linkFiles(making, path, files);
      await add?.(making);
      return result;
    }),
  };
}

/** Names the node of a model as it was before text was added: the weights that it goes on from. */
const beforeNode = (model: string): string => `before/${model}`;

/** Name of the stage that links models which training goes on from. */
const DERIVE = "derive";

/** Makes the nodes of models that may go on from what they were in the other run; of each with the sequences from an expert that was dropped. */
export function beforeNodes(derivation: Derivation): Node[] {
  const { origins, trained, dropped } = derivation, experts = origins.length;
  const assigned = assignmentNode();
  const nodes = origins.flatMap((origin, expert) => {
    if (origin === null || !trained[origin] || !mayGoOn(derivation, origin)) return [];
    const name = beforeNode(expertTarget(expert, { experts }).name), file = movedFile(expert, experts);
    const moved = dropped === null ? {} : {
      needs: [`${assigned}:${file}`],
      add: (making: Making) =>
        linkFiles(making, making.path(assigned), { [file]: making.manifest(assigned).files[file] }),
    };
    return [keptNode(DERIVE, name, derivation, { where: nodeOfOrigin(derivation, origin), ...moved })];
  });
  const dense = listDense(derivation).map((where) =>
    keptNode(DERIVE, beforeNode(where), derivation, { where })
  );
  return [...nodes, ...dense];
}

/** Makes the node of the tokenizer, and next to it the chat template, where servers and other programs look for it. */
export function tokenizerBefore(derivation: Derivation): Node {
  const { template } = derivation, links = { [TOKENIZER_FILE]: TOKENIZER_FILE };
  if (template === "") return keptNode(TOKENIZER, TOKENIZER, derivation, { links });
  return keptNode(TOKENIZER, TOKENIZER, derivation, {
    links: { ...links, [TOKENIZER_CONFIG]: TOKENIZER_CONFIG },
    settings: { template },
    async add({ folder, wrote }) {
      const text = jsonText({ chat_template: template });
      wrote(TOKENIZER_CONFIG, await writeAtomic(`${folder}/${TOKENIZER_CONFIG}`, text));
    },
  });
}

/** Names the node of an expert of the other run. */
const nodeOfOrigin = ({ parts }: Derivation, expert: number) =>
  expertTarget(expert, { experts: parts.length }).node;

/** Names the dense models that are tuned. */
export const listDense = ({ tuned, kept }: Derivation): string[] =>
  DENSE.filter((name) => tuned && name in kept);

/** Gives models of a run as they go on from what they were in the other run, or stay as they are there. */
export async function targetsBefore(run: string, targets: readonly Target[]): Promise<Target[]> {
  const derivation = await readDerivation(run);
  if (!derivation || derivation.relearned) return [...targets];
  const { trained, parts, origins, replay, dropped } = derivation;
  return await Promise.all(targets.map(async (target) => {
    const { name, node, expert } = target, before = { node: beforeNode(name) };
    const afresh = goingOn(target, { ...before, sequences: 0, passes: 0, replay: 0 });
    if (expert === undefined) return listDense(derivation).includes(name) ? afresh : target;
    const { state } = await readState(run, derivation, expert) ??
      tellState(derivation, expert, { touched: true });
    if (state === "split" || state === "tuned") return afresh;
    if (state !== "kept" && state !== "goes on") return target;
    const was = origins[expert]!, where = nodeOfOrigin(derivation, was);
    if (state === "kept") return { ...target, kept: keptNode(`train-${name}`, node, derivation, { where }) };
    const moved = dropped === null ? {} : { moved: movedFile(expert, origins.length) };
    return goingOn(target, {
      ...before,
      sequences: parts[was],
      passes: trained[was].passes,
      replay,
      ...moved,
    });
  }));
}

/** Opens the rows of a file of a node of the other run. */
export async function openBefore(derivation: Derivation, need: string, file: string): Promise<Rows> {
  const { path, manifest } = await nodeBefore(derivation, need);
  return await openNeeded({ path: () => path, manifest: () => manifest }, [{ need, file }]);
}
