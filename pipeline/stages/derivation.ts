/**
 * What a run that derives from another one keeps of it, what changes, and what becomes of each
 * expert. It is written when the run begins. The other run is needed until what is kept has been
 * linked, and never changed.
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
import { jsonText, withRemedy } from "../graph/files.ts";
import { conform, count, finite, readJsonIfThere, share } from "../graph/schema.ts";
import { TOKENIZER_CONFIG } from "../text/tokenizer.ts";
import { INDEXED } from "./documents.ts";
import { partIn } from "./parts.ts";
import { goingOn, type Target } from "./targets.ts";
import { assignmentNode } from "./token_rows.ts";

const FILE = "derivation.json";

/** Describes a document that is forgotten. */
export const FORGOTTEN_DOCUMENT = v.object({
  document: v.string(),
  path: v.string(),
  place: count,
  sha256: v.string(),
  source: v.string(),
  side: v.picklist(["train", "test"]),
});

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

const EXPERT = v.object({
  was: v.nullable(count),
  sequences: count,
  becomes: v.picklist(Object.keys(EXPERT_STATES) as (keyof typeof EXPERT_STATES)[]),
  trained: v.nullable(
    v.object({ node: v.string(), part: v.string(), passes: finite, sawMore: v.boolean() }),
  ),
});

const CHANGE = v.object({
  forgotten: v.array(FORGOTTEN_DOCUMENT),
  added: v.array(v.string()),
  newExpert: v.boolean(),
  replay: v.pipe(share, v.maxValue(0.99)),
  dropped: v.nullable(count),
  stays: v.boolean(),
  split: v.nullable(count),
  replaced: v.array(v.object({ expert: count, from: v.string() })),
  relearned: v.boolean(),
  tuned: v.boolean(),
  fresh: v.boolean(),
  epochs: finite,
});

const SCHEMA = v.object({
  from: v.string(),
  version: v.string(),
  change: CHANGE,
  experts: v.array(EXPERT),
  renumbered: v.boolean(),
  dense: v.array(v.string()),
  blocks: v.array(INDEXED),
  paired: v.boolean(),
  kept: v.record(v.string(), v.string()),
  partitioner: v.string(),
  grouped: v.object({ experts: count, starts: v.array(count) }),
  forgottenBefore: v.array(FORGOTTEN_DOCUMENT),
  away: v.array(v.string()),
  passages: v.optional(v.record(v.string(), v.array(finite)), {}),
  template: v.string(),
});

/**
 * A document that is forgotten: its id, its place and the hash of its text.
 *
 * @ignore Its type is inferred.
 */
export type Forgotten = v.InferOutput<typeof FORGOTTEN_DOCUMENT>;

/**
 * An expert: its id in the other run, null of a new one; the training sequences that it had there;
 * what becomes of it if its text changes; and of a trained one its node there, the hash of its
 * training shards, how often it saw each sequence, and whether its weights come from an expert of
 * more text, which was split.
 *
 * @ignore Its type is inferred.
 */
export type ExpertBefore = v.InferOutput<typeof EXPERT>;

/**
 * What a run derives from: the run `from`, with a `change`, by this `version`. `experts` are those
 * of the new run, `renumbered` if there are more or fewer than before; `dense` models are tuned
 * next to them. `blocks` are the other run's blocks of text, `grouped` for so many experts and anew
 * where text was added; in a `paired` run all text is pairs. `kept` has the keys of nodes that may
 * be linked, by name; `partitioner` is one of these names, or a path. Documents of
 * `forgottenBefore` left on the way to the other run; `away` are hashes of forgotten texts that no
 * document has, and `passages` of passages of all forgotten texts. `template` is its chat template,
 * or that of pairs, "" for none.
 *
 * Of the change, `added` inputs may be for a `newExpert`, or pairs that models are `tuned` on for
 * so many `epochs`, with `fresh` routers or the old ones. After one is `dropped` the other experts
 * go on with its text, unless each `stays` as it is.
 *
 * @ignore Its type is inferred.
 */
export type Derivation = v.InferOutput<typeof SCHEMA>;

/** Reads what a run derives from; null where it derives from none. */
export const readDerivation = (run: string): Promise<Derivation | null> =>
  readJsonIfThere(
    `${run}/${DERIVED}/${FILE}`,
    SCHEMA,
    "what a run derives from, as this version writes it",
  )
    .catch(withRemedy("derive again, into another folder"));

/** Lists the documents that a run has forgotten, on the way to the other run as well. */
export const listForgotten = (derivation: Derivation | null): Forgotten[] =>
  [derivation?.forgottenBefore ?? [], derivation?.change.forgotten ?? []].flat();

/** Whether tokenizer and routers were learned again after the last text was forgotten. */
export async function learnedSince({ from, change }: Derivation): Promise<boolean> {
  if (change.relearned) return true;
  const above = change.forgotten.length > 0 ? null : await readDerivation(from);
  return above !== null && await learnedSince(above);
}

/**
 * Gives a derivation as it is read, without what does not belong there: what is written again has
 * the same bytes.
 */
export const toDerivation = (derivation: Derivation): Derivation => conform(SCHEMA, derivation);

/** Writes what a run derives from. */
export const writeDerivation = (run: string, derivation: Derivation): Promise<void> =>
  writePages(run, DERIVED, { [FILE]: jsonText(derivation) });

/**
 * Names the file, in the node of the assignment, of the sequences that an expert got from one that
 * was dropped.
 */
export const movedFile = (expert: number, experts: number): string =>
  `moved-${expertFolder(expert, experts)}.arrow`;

/** What becomes of an expert. */
export interface DerivedExpert {
  /** Its id. */
  expert: number;
  /** Its id in the other run; null of a new one. */
  was: number | null;
  /**
   * One of {@linkcode EXPERT_STATES}: prompts that are routed to one of which no text is left fail.
   */
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
  /**
   * Its experts. Before its parts are made there are none, and a plan does not know which ones
   * added text touches.
   */
  experts: DerivedExpert[];
}

/** Reports from which run a run derives, and that from which, as far as they are here. */
export async function readLineageSteps(
  run: string,
  seen: readonly string[] = [],
): Promise<LineageStep[]> {
  const derivation = await readDerivation(run);
  const real = await Deno.realPath(run).catch(() => run);
  // A run may have taken the place of the one that it derives from.
  if (!derivation || seen.includes(real)) return [];
  const { from, change: { forgotten, added, dropped } } = derivation;
  const experts = await derivedExperts(run, derivation);
  const step = { run, from, forgotten: forgotten.length, added, dropped, experts };
  return [step, ...await readLineageSteps(from, [...seen, real])];
}

/**
 * Reports what becomes of an expert by its part in the derived run; null where that is not there
 * yet.
 */
async function readState(
  run: string,
  derivation: Derivation,
  expert: number,
): Promise<DerivedExpert | null> {
  const { experts, change: { tuned, relearned, forgotten } } = derivation;
  const { was, sequences: before, becomes, trained } = experts[expert];
  const name = partNode(expert, experts.length);
  const part = await readManifest(`${run}/${name}`);
  if (!part) return null;
  const sequencesNow = partIn(name, part).train.sequences;
  const hasSeen = trained?.sawMore && forgotten.some(({ side }) => side === "train");
  const isSame = tuned
    ? sequencesNow === 0
    : !relearned && !hasSeen && hashFiles(part, "train-") === trained?.part;
  const isFixed = !trained || becomes === "replaced";
  const state = isFixed ? becomes : isSame ? "kept" : sequencesNow === 0 ? "no text left" : becomes;
  return { expert, was, state, sequences: { before, now: sequencesNow } };
}

/** Reports what became of every expert, once the parts of the derived run are there. */
export async function derivedExperts(
  run: string,
  derivation: Derivation,
): Promise<DerivedExpert[]> {
  const states = derivation.experts.map((_, expert) => readState(run, derivation, expert));
  const experts = (await Promise.all(states)).filter((expert) => expert !== null);
  return experts.length === states.length ? experts : [];
}

/** Words what changed in a step: documents, inputs and experts. */
export function lineageStepText({ forgotten, added, dropped, experts }: LineageStep): string {
  const states = [...Map.groupBy(experts, ({ state }) => state)].map(([state, group]) => {
    const ids = group.map(({ expert }) => expert).join(", ");
    const subject = group.length === experts.length
      ? "all experts"
      : `${group.length > 1 ? "experts" : "expert"} ${ids}`;
    return `${subject} ${EXPERT_STATES[state][0]}`;
  });
  const text = [
    ...forgotten > 0
      ? [`${forgotten} ${forgotten === 1 ? "document" : "documents"} forgotten`]
      : [],
    ...dropped === null ? [] : [`expert ${dropped} dropped`],
    ...added.length > 0 ? [`added ${added.join(", ")}`] : [],
  ];
  return [...text, ...states].join("; ");
}

/** Manifests of the other run that were read, by what is kept of it: one may list many blocks. */
const read = new WeakMap<Derivation["kept"], Map<string, Promise<Manifest | null>>>();

/**
 * Gives the folder of the other run that a node of a derived one is made of, and its manifest. That
 * must be the one that was planned.
 */
export async function nodeBefore(
  { from, kept }: Derivation,
  name: string,
): Promise<{ path: string; manifest: Manifest }> {
  const path = name.startsWith("/") ? name : `${from}/${name}`;
  const manifests = read.getOrInsertComputed(kept, () => new Map());
  const manifest = await manifests.getOrInsertComputed(path, readManifest);
  if (manifest?.key === kept[name]) return { path, manifest };
  const fact = manifest ? "it was made anew meanwhile" : "it is not there";
  throw new InputError(
    `Cannot derive from "${from}" as it must be as it was when that was planned: ${fact}`,
    { where: path, remedy: "derive again, into another folder" },
  );
}

/**
 * Makes a node that is linked from the other run, where it is called `where`; `add` puts something
 * else into its folder.
 */
export function keptNode(
  stage: string,
  name: string,
  derivation: Derivation,
  { where = name, add, settings, ...changes }:
    & Partial<Pick<Node, "needs" | "links" | "settings">>
    & { where?: string; add?(making: Making): Promise<void> } = {},
): Node {
  return {
    name,
    needs: [],
    ...changes,
    settings: { kept: derivation.kept[where], ...settings },
    revision: 1,
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

/**
 * Makes the nodes of models that may go on from what they were in the other run; of each with the
 * sequences from an expert that was dropped.
 */
export function beforeNodes(derivation: Derivation): Node[] {
  const { experts, dense, change: { dropped } } = derivation;
  const assigned = assignmentNode();
  const nodes = experts.flatMap(({ becomes, trained }, expert) => {
    if (!trained || !["goes on", "split", "tuned"].includes(becomes)) return [];
    const name = beforeNode(expertFolder(expert, experts.length));
    const file = movedFile(expert, experts.length);
    const moved = dropped === null ? {} : {
      needs: [`${assigned}:${file}`],
      add: (making: Making) =>
        linkFiles(making, making.path(assigned), { [file]: making.manifest(assigned).files[file] }),
    };
    return [keptNode("derive", name, derivation, { where: trained.node, ...moved })];
  });
  return [
    ...nodes,
    ...dense.map((where) => keptNode("derive", beforeNode(where), derivation, { where })),
  ];
}

/**
 * Makes the node of the tokenizer, and next to it the chat template, where servers and other
 * programs look for it.
 */
export function tokenizerBefore(derivation: Derivation): Node {
  const { template } = derivation;
  const links = { [TOKENIZER_FILE]: TOKENIZER_FILE };
  if (template === "") return keptNode(TOKENIZER, TOKENIZER, derivation, { links });
  return keptNode(TOKENIZER, TOKENIZER, derivation, {
    links: { ...links, [TOKENIZER_CONFIG]: TOKENIZER_CONFIG },
    settings: { template },
    add: ({ write }) => write(TOKENIZER_CONFIG, jsonText({ chat_template: template })),
  });
}

/**
 * Gives models of a run as they go on from what they were in the other run, or stay as they are
 * there.
 */
export async function targetsBefore(run: string, targets: readonly Target[]): Promise<Target[]> {
  const derivation = await readDerivation(run);
  if (!derivation || derivation.change.relearned) return [...targets];
  const { experts, dense, change: { replay, dropped } } = derivation;
  return await Promise.all(targets.map(async (target) => {
    const { name, node, expert } = target;
    const earlier = { node: beforeNode(name) };
    const afresh = goingOn(target, { ...earlier, sequences: 0, passes: 0, replay: 0 });
    if (expert === undefined) return dense.includes(name) ? afresh : target;
    const { becomes, sequences, trained } = experts[expert];
    const { state } = await readState(run, derivation, expert) ?? { state: becomes };
    if (state === "split" || state === "tuned") return afresh;
    if (!trained || state !== "kept" && state !== "goes on") return target;
    const stage = `train-${name}`;
    const { passes, node: where } = trained;
    if (state === "kept") return { ...target, kept: keptNode(stage, node, derivation, { where }) };
    const moved = dropped === null ? {} : { moved: movedFile(expert, experts.length) };
    return goingOn(target, { ...earlier, sequences, passes, replay, ...moved });
  }));
}
