/**
 * Experts that another trainer made and that were put into a run. The manifest of such an expert
 * says where it came from instead of how it was trained.
 */

import * as v from "valibot";
import { InputError } from "../../kernels/errors.ts";
import { type Manifest, readManifest } from "../graph/node.ts";
import { readRunConfiguration } from "../graph/configuration.ts";
import { listEntries } from "../graph/files.ts";
import { count } from "../graph/schema.ts";

/** The schema of a model's shape. */
export const SHAPE = v.object({
  vocabulary: count,
  hidden: count,
  layers: count,
  heads: count,
  context: count,
  architecture: v.optional(v.string()),
  keyHeads: v.optional(count),
  headSize: v.optional(count),
  intermediate: v.optional(count),
  ropeTheta: v.optional(v.number()),
  normEpsilon: v.optional(v.number()),
  sublayers: v.optional(v.pipe(v.array(v.string()), v.readonly())),
  untied: v.optional(v.literal(true)),
});
const ADOPTION = v.object({
  from: v.string(),
  sha256: v.string(),
  shape: SHAPE,
  parameters: count,
});

/**
 * Where an expert came from: the folder, as it was named, the SHA-256 of its weights there, its
 * shape and its number of weights.
 *
 * @ignore
 */
export type Adoption = v.InferOutput<typeof ADOPTION>;

/** Returns where the model of a manifest came from, or undefined where it was trained here. */
export function describeAdoption(
  manifest: Pick<Manifest, "result"> | null | undefined,
): Adoption | undefined {
  const result = v.safeParse(ADOPTION, manifest?.result.adopted);
  return result.success ? result.output : undefined;
}

/** An expert of a run that came from elsewhere. */
export interface AdoptedExpert extends Adoption {
  /** Its id. */
  expert: number;
}

/**
 * Lists the experts of a run that came from elsewhere, by id. Those that a partition into more
 * parts left behind are none of its experts. With `check` one whose manifest is damaged counts as
 * trained here: it is made again.
 */
export async function adoptedExperts(run: string, check = false): Promise<AdoptedExpert[]> {
  const experts = (await readRunConfiguration(run, { edited: true }))?.configuration.experts ??
    Infinity;
  const adopted: AdoptedExpert[] = [];
  for (const { name } of await listEntries(`${run}/experts`)) {
    const [, id] = /^expert-(\d+)$/.exec(name) ?? [];
    if (id === undefined || Number(id) >= experts) continue;
    const manifest = await readManifest(`${run}/experts/${name}`).catch((error) => {
      if (check && error instanceof InputError) return null;
      throw error;
    });
    const adoption = describeAdoption(manifest);
    if (adoption) adopted.push({ expert: Number(id), ...adoption });
  }
  return adopted.sort((a, b) => a.expert - b.expert);
}
