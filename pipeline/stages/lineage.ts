/**
 * The lineage of a run that derives from another one: what changed on the way, and what became of each expert.
 *
 * @module
 */

import { hashFiles, type Manifest, partNode, readManifest } from "../graph/node.ts";
import { type Derivation, findReshaping, readDerivation } from "./derivation.ts";
import { partIn } from "./parts.ts";

/** What becomes of an expert. */
export interface DerivedExpert {
  /** Its id. */
  expert: number;
  /** Its id in the other run; null of a new one. */
  was: number | null;
  /**
   * `kept`: its bytes are those of before. `from the start`: it is trained again on what is left. `goes on`: it is trained further, on added
   * text and old. `replaced`: another checkpoint takes its place. `new`: it learns added text alone. `split`: it begins with the weights of
   * the one whose text it shares. `tuned`: it goes on with the responses to its prompts. `no text left`: nothing stays that it could be trained
   * on, so prompts that are routed to it fail. `not trained`: it is not trained in the other run either.
   */
  state:
    | "kept"
    | "from the start"
    | "goes on"
    | "replaced"
    | "no text left"
    | "new"
    | "split"
    | "tuned"
    | "not trained";
  /** Its training sequences before, and now where they are known. */
  sequences: { before: number; now?: number };
}

/** A step from one run to the next. */
export interface Step {
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
  /** Its experts; none before its parts are made. */
  experts: DerivedExpert[];
}

/** Reports from which run a run derives, and that from which, as far as they are here. */
export async function readLineageSteps(run: string, seen: readonly string[] = []): Promise<Step[]> {
  const derivation = await readDerivation(run), real = await Deno.realPath(run).catch(() => run);
  if (!derivation || seen.includes(real)) return []; // a run may have taken the place of the one that it derives from
  const { from, forgotten, added } = derivation, { dropped = null } = findReshaping(derivation);
  const experts = await derivedExperts(run, derivation);
  const step = { run, from, forgotten: forgotten.length, added, dropped, experts };
  return [step, ...await readLineageSteps(from, [...seen, real])];
}

/** Whether an expert stays as it was: trained on a part with training shards of the hash `before`, which is this one now. */
export const isUnchanged = (
  { tuned, relearned, stays }: Derivation,
  before: string | undefined,
  part: Manifest,
): boolean =>
  tuned
    ? partIn(part.name, part).train.sequences === 0
    : stays || !relearned && hashFiles(part, "train-") === before;

/** Tells what becomes of an expert that is `touched`, or of one whose part stays as it is, which has `now` so many training sequences. */
export function tellState(
  derivation: Derivation,
  expert: number,
  { touched, now }: { touched: boolean; now?: number },
): DerivedExpert {
  const { origins, trained, parts, added, tuned, replaced } = derivation, was = origins[expert];
  const { split, dropped } = findReshaping(derivation),
    isTrained = was !== null && trained[was] !== undefined;
  const state = replaced.some((one) => one.expert === expert)
    ? "replaced"
    : was === null && Object.keys(trained).length > 0
    ? "new"
    : !isTrained
    ? "not trained"
    : !touched
    ? "kept"
    : tuned
    ? "tuned"
    : now === 0
    ? "no text left"
    : split
    ? "split"
    : added.length > 0 || dropped !== undefined
    ? "goes on"
    : "from the start";
  return { expert, was, state, sequences: { before: was === null ? 0 : parts[was], now } };
}

/** Reports what became of every expert, once the parts of the derived run are there. */
export async function derivedExperts(run: string, derivation: Derivation): Promise<DerivedExpert[]> {
  const { trained, origins } = derivation, experts = origins.length, found: DerivedExpert[] = [];
  for (const [expert, was] of origins.entries()) {
    const name = partNode(expert, experts), part = await readManifest(`${run}/${name}`);
    if (!part) return [];
    const touched = was === null || !isUnchanged(derivation, trained[was]?.part, part);
    found.push(tellState(derivation, expert, { touched, now: partIn(name, part).train.sequences }));
  }
  return found;
}

const BECAME: Record<DerivedExpert["state"], string> = {
  kept: "kept",
  "from the start": "trained again from the start",
  "goes on": "trained further",
  replaced: "replaced",
  "no text left": "without text",
  new: "new",
  split: "split off",
  tuned: "tuned",
  "not trained": "not trained",
};

/** Words what changed in a step: documents, inputs and experts. */
export function stepText({ forgotten, added, dropped, experts }: Step): string {
  const states = [...Map.groupBy(experts, ({ state }) => state)].map(([state, own]) => {
    const ids = own.map(({ expert }) => expert).join(", ");
    const which = own.length === experts.length
      ? "all experts"
      : own.length > 1
      ? `experts ${ids}`
      : `expert ${ids}`;
    return `${which} ${BECAME[state]}`;
  });
  const text = [
    ...forgotten > 0 ? [`${forgotten} ${forgotten === 1 ? "document" : "documents"} forgotten`] : [],
    ...dropped === null ? [] : [`expert ${dropped} dropped`],
    ...added.length > 0 ? [`added ${added.join(", ")}`] : [],
  ];
  return [...text, ...states].join("; ");
}
