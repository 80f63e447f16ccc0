/**
 * The lineage of a run that derives from another one: what changed on the way, and what became of each expert.
 *
 * @module
 */

import { hashFiles, type Manifest, partNode, readManifest } from "../graph/node.ts";
import { type Derivation, readDerivation } from "./derivation.ts";
import { needConfiguration, partIn } from "./parts.ts";

/** What becomes of an expert. */
export interface DerivedExpert {
  /** Its id. */
  expert: number;
  /**
   * `kept`: its bytes are those of before. `from the start`: it is trained again on what is left. `goes on`: it is trained further, on added
   * text and old. `replaced`: another checkpoint takes its place. `new`: it learns added text alone. `tuned`: it goes on with the responses to its prompts. `no text left`: nothing stays that it could be trained on, so prompts
   * that are routed to it fail. `not trained`: it is not trained in the other run either.
   */
  state:
    | "kept"
    | "from the start"
    | "goes on"
    | "replaced"
    | "no text left"
    | "new"
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
  /** Its experts; none before its parts are made. */
  experts: DerivedExpert[];
}

/** Reports from which run a run derives, and that from which, as far as they are here. */
export async function readLineageSteps(run: string, seen: readonly string[] = []): Promise<Step[]> {
  const derivation = await readDerivation(run), real = await Deno.realPath(run).catch(() => run);
  if (!derivation || seen.includes(real)) return []; // a run may have taken the place of the one that it derives from
  const { from, forgotten, added } = derivation;
  const step = {
    run,
    from,
    forgotten: forgotten.length,
    added,
    experts: await derivedExperts(run, derivation),
  };
  return [step, ...await readLineageSteps(from, [...seen, real])];
}

/** Whether an expert stays as it was: trained on a part with training shards of the hash `before`, which is this one now. */
export const isUnchanged = (
  { isNewExpert, tuned, relearned }: Derivation,
  before: string | undefined,
  part: Manifest,
): boolean =>
  tuned
    ? partIn(part.name, part).train.sequences === 0
    : !relearned && (isNewExpert || hashFiles(part, "train-") === before);

/** Reports what became of every expert, once the parts of the derived run are there. */
export async function derivedExperts(
  run: string,
  derivation: Derivation,
): Promise<DerivedExpert[]> {
  const { trained, parts, added, isNewExpert, tuned, replaced } = derivation;
  const { experts } = await needConfiguration(run), found: DerivedExpert[] = [];
  for (let expert = 0; expert < experts; expert++) {
    const name = partNode(expert, experts),
      part = await readManifest(`${run}/${name}`),
      own = trained[expert];
    if (!part) return [];
    const now = partIn(name, part).train.sequences;
    const state = replaced.some((one) => one.expert === expert)
      ? "replaced"
      : isNewExpert && expert === experts - 1 && Object.keys(trained).length > 0
      ? "new"
      : !own
      ? "not trained"
      : isUnchanged(derivation, own.part, part)
      ? "kept"
      : tuned
      ? "tuned"
      : now === 0
      ? "no text left"
      : added.length > 0
      ? "goes on"
      : "from the start";
    found.push({ expert, state, sequences: { before: parts[expert] ?? 0, now } });
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
  tuned: "tuned",
  "not trained": "not trained",
};

/** Words what changed in a step: documents, inputs and experts. */
export function stepText({ forgotten, added, experts }: Step): string {
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
    ...added.length > 0 ? [`added ${added.join(", ")}`] : [],
  ];
  return [...text, ...states].join("; ");
}
