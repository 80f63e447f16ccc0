/**
 * The models that a run may compare its mixture with: trained on all its tokens, each in a folder of its own name. Evaluation,
 * report and tasks read this table; the stages that train them are in `pipeline/stages/`.
 *
 * @module
 */

/** What is told of a baseline. */
export interface BaselineNotes {
  /** What kind of model it is. */
  kind: string;
  /** Says how it is trained; `times` is E in words, as in "4 times the". */
  how(times: string): string;
  /** Whether it sees as many tokens as all experts together; else its training costs as many FLOPs as theirs and their routers'. */
  sameTokens: boolean;
  /** Whether it has the shape of an expert, and so costs as much per token that it generates. */
  sameShape: boolean;
}

const NOTES = {
  dense: { kind: "dense", how: (times) => `${times} batch`, sameTokens: true, sameShape: true },
  "dense-steps": { kind: "dense", how: (times) => `${times} steps`, sameTokens: true, sameShape: true },
  "dense-compute": {
    kind: "dense",
    how: () => "larger, equal compute",
    sameTokens: false,
    sameShape: false,
  },
  switch: { kind: "Switch", how: () => "experts in every layer", sameTokens: true, sameShape: false },
} satisfies Record<string, BaselineNotes>;

/**
 * A model to compare the mixture with, by the name of its folder.
 *
 * @ignore
 */
export type Baseline = keyof typeof NOTES;

/** Every baseline by the name of its folder, in the order in which a reader is told of them. */
export const BASELINE_NOTES: Readonly<Record<Baseline, BaselineNotes>> = NOTES;

/** The baselines that a run may have. */
export const BASELINES = Object.keys(NOTES) as [Baseline, ...Baseline[]];

/** Whether a name is a baseline's. */
export function isBaseline(name: string): name is Baseline {
  return Object.hasOwn(NOTES, name);
}

/** Whether a model need not have the shape of an expert: it is a baseline of a shape of its own. Experts go by number. */
export function hasOwnShape(model: number | string): boolean {
  return typeof model === "string" && isBaseline(model) && !BASELINE_NOTES[model].sameShape;
}
