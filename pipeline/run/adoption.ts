/**
 * Experts that another trainer made and that were put into a run. The manifest of such an expert says where
 * the expert came from instead of how it was trained.
 *
 * @module
 */

import * as v from "valibot";
import { readRunConfiguration } from "./configuration.ts";
import { type Manifest, manifestNames, readManifest } from "./manifest.ts";
import { count } from "./schema.ts";

const ADOPTION = v.object({
  from: v.string(),
  sha256: v.string(),
  shape: v.object({
    vocabulary: count,
    hidden: count,
    layers: count,
    heads: count,
    context: count,
    sublayers: v.optional(v.pipe(v.array(v.string()), v.readonly())),
    untied: v.optional(v.literal(true)),
  }),
  parameters: count,
});

/**
 * Where an expert came from: the folder, as it was named, the SHA-256 of its weights there, its shape and its number of weights.
 *
 * @ignore
 */
export type Adoption = v.InferOutput<typeof ADOPTION>;

/** Says where the model of a manifest came from; undefined where it was trained here. */
export function adoptionOf(manifest: Pick<Manifest, "configuration"> | null): Adoption | undefined {
  const result = v.safeParse(ADOPTION, manifest?.configuration.adopted);
  return result.success ? result.output : undefined;
}

/** An expert of a run that came from elsewhere. */
export interface AdoptedExpert extends Adoption {
  /** Its id. */
  expert: number;
}

/**
 * Lists the experts of a run that came from elsewhere, by id. Those that an earlier partition into more parts
 * left behind are none of its experts.
 */
export async function adoptedExperts(run: string): Promise<AdoptedExpert[]> {
  const experts = (await readRunConfiguration(run, { edited: true }))?.configuration.experts ?? Infinity;
  const found: AdoptedExpert[] = [];
  for (const name of await manifestNames(run)) {
    const [, id] = /^train-expert-(\d+)$/.exec(name) ?? [];
    const isOne = id !== undefined && Number(id) < experts;
    const adoption = isOne ? adoptionOf(await readManifest(run, name)) : undefined;
    if (adoption) found.push({ expert: Number(id), ...adoption });
  }
  return found.sort((a, b) => a.expert - b.expert);
}
