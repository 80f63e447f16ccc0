/** Which form of a kernel runs on which kind of adapter: a table, never a timing, so that results can be reproduced. */

/** What an adapter is. */
export type AdapterKind = "software" | "gpu";

/** The forms that have more than one. */
export interface Variants {
  /**
   * Matrix products. `registers`: 8 × 8 tiles in registers, on any adapter. `subgroup`: panels of B in private memory, A
   * broadcast within subgroups of 8; needs subgroups of exactly 8 and is meant for software adapters.
   */
  matmul: "registers" | "subgroup";
  /** Attention. `query`: one invocation per query or key, on any adapter. `subgroup`: panels as above, a subgroup per head. */
  attention: "query" | "subgroup";
}

/** The table. */
export const VARIANTS: Record<AdapterKind, Variants> = {
  software: { matmul: "subgroup", attention: "subgroup" },
  gpu: { matmul: "registers", attention: "query" },
};

/** Looks up the variants of an adapter; without subgroups of 8 the forms that need them fall back. */
export function chooseVariants(
  kind: AdapterKind,
  subgroupOf8: boolean,
  wanted: Partial<Variants> = {},
): Variants {
  const variants = { ...VARIANTS[kind], ...wanted };
  if (!subgroupOf8) {
    if (variants.matmul === "subgroup") variants.matmul = "registers";
    if (variants.attention === "subgroup") variants.attention = "query";
  }
  return variants;
}
