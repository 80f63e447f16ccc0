/**
 * The models that a run may compare its mixture with: trained on all its tokens, each in a folder
 * of its own name. Evaluation, report and tasks read this table; the stages that train them are in
 * `pipeline/stages/`.
 *
 * @module
 */

/** What a reader learns of a baseline. */
export interface BaselineNotes {
  /** What kind of model it is. */
  kind: string;
  /** Tells how it is trained; `times` is E in words, as in "4 times the". */
  how(times: string): string;
  /**
   * Whether it sees as many tokens as all experts together. Otherwise its training costs as many
   * FLOPs as that of experts and routers.
   */
  sameTokens: boolean;
  /** Whether it has the shape of an expert, so that a generated token costs as much. */
  sameShape: boolean;
}

const dense = { kind: "dense", sameTokens: true, sameShape: true };
const NOTES = {
  dense: { ...dense, how: (times) => `${times} batch` },
  "dense-steps": { ...dense, how: (times) => `${times} steps` },
  "dense-compute": {
    kind: "dense",
    how: () => "larger, equal compute",
    sameTokens: false,
    sameShape: false,
  },
  switch: {
    kind: "Switch",
    how: () => "experts in every layer",
    sameTokens: true,
    sameShape: false,
  },
} satisfies Record<string, BaselineNotes>;

/**
 * A model to compare the mixture with, by the name of its folder.
 *
 * @ignore
 */
export type Baseline = keyof typeof NOTES;

/** All baselines by the names of their folders, in the order in which they are shown. */
export const BASELINE_NOTES: Readonly<Record<Baseline, BaselineNotes>> = NOTES;

/** The baselines that a run may have. */
export const BASELINES = Object.keys(NOTES) as [Baseline, ...Baseline[]];

/** Returns whether a name is that of a baseline. */
export function isBaseline(name: string): name is Baseline {
  return Object.hasOwn(NOTES, name);
}

/**
 * Returns whether a model may have another shape than an expert: some baselines may. Experts are
 * named by their numbers.
 */
export function hasOwnShape(model: number | string): boolean {
  return typeof model === "string" && isBaseline(model) && !BASELINE_NOTES[model].sameShape;
}
