/**
 * Which variant of a kernel runs on which kind of adapter: a table, never a timing, so that results
 * can be reproduced.
 */

import { InputError } from "../errors.ts";

/** What an adapter is. */
export type AdapterKind = "software" | "gpu";

/** The kernels that have more than one variant, and the variant of each. */
export interface Variants {
  /**
   * Matrix products. `registers`: 8 × 8 tiles in registers, on any adapter. `subgroup`: panels of
   * B, or for Aᵀ · B tiles of C, in private memory, A broadcast within subgroups of 8; needs
   * subgroups of exactly 8 and is meant for software adapters. `workgroup`: tiles in workgroup
   * memory, for GPUs. `workgroup_f16`: the same, with products of f16 where a linear layer runs
   * forward. Eight products are added in f16, these sums in f32; needs `shader-f16` and is less
   * exact.
   */
  matmul: "registers" | "subgroup" | "workgroup" | "workgroup_f16";
  /**
   * Attention. `query`: one invocation per query or key, on any adapter. `subgroup`: panels as
   * above, a subgroup per head. `workgroup`: blocks of 64 or 32 queries and keys in workgroup
   * memory, for GPUs.
   */
  attention: "query" | "subgroup" | "workgroup";
  /**
   * LayerNorm and loss. `invocation`: an invocation per row. `subgroup`: the same, but for
   * LayerNorm of up to 256 columns, which takes a subgroup per block of rows. `workgroup`: a
   * workgroup per row, for GPUs.
   */
  rows: "invocation" | "subgroup" | "workgroup";
  /**
   * Loss of a training step. `chunks`: logits are stored, some rows at a time, and become their
   * gradient. `workgroup`: both gradients compute tiles of logits again in workgroup memory, so
   * none is stored; meant for GPUs with too little memory for chunks.
   */
  loss: "chunks" | "workgroup";
}

/** Every variant of every kernel. */
export const KERNEL_VARIANTS: { readonly [Kernel in keyof Variants]: readonly Variants[Kernel][] } =
  {
    matmul: ["registers", "subgroup", "workgroup", "workgroup_f16"],
    attention: ["query", "subgroup", "workgroup"],
    rows: ["invocation", "subgroup", "workgroup"],
    loss: ["chunks", "workgroup"],
  };

/** The table. */
export const VARIANTS: Record<AdapterKind, Variants> = {
  software: { matmul: "subgroup", attention: "subgroup", rows: "subgroup", loss: "chunks" },
  gpu: { matmul: "workgroup", attention: "workgroup", rows: "workgroup", loss: "chunks" },
};

/** Raised whenever a variant for GPUs gives other bits than before. */
const WORKGROUP_REVISION = 4;

/**
 * Returns the revision on which the bits of variants for GPUs depend. A training continues only
 * with the variants and the revision that it began with. For software adapters the revisions of the
 * stages cover this, so nothing is returned.
 */
export function variantRevision(variants: Partial<Variants>): { forms?: number } {
  return Object.values(variants).some((variant) => variant.startsWith("workgroup"))
    ? { forms: WORKGROUP_REVISION }
    : {};
}

/** The variant that runs instead where the adapter cannot run the one in the table. */
const GENERAL: Variants = {
  matmul: "registers",
  attention: "query",
  rows: "invocation",
  loss: "chunks",
};

/** The optional features that some variants need, and whether an adapter offers them. */
export interface Offers {
  /** Subgroups of exactly 8 invocations. */
  subgroupsOf8: boolean;
  /** The feature `shader-f16`. */
  f16: boolean;
}

function findNeed(variant: string): { offer: keyof Offers; name: string } | undefined {
  if (variant === "subgroup") return { offer: "subgroupsOf8", name: "subgroups of 8" };
  return variant === "workgroup_f16" ? { offer: "f16", name: "shader-f16" } : undefined;
}

/**
 * Looks up the variants that run on an adapter. Where the adapter lacks what a variant of the table
 * needs, its fallback runs. A variant that is `wanted` has no fallback: if the adapter cannot run
 * it, or there is no variant of that name, this throws an `InputError`.
 */
export function chooseVariants(
  kind: AdapterKind,
  offers: Offers,
  wanted: Partial<Variants> = {},
): Variants {
  const choose = <Kernel extends keyof Variants>(kernel: Kernel): Variants[Kernel] => {
    const variant = wanted[kernel] ?? VARIANTS[kind][kernel];
    const need = findNeed(variant);
    if (!need || offers[need.offer]) return variant;
    if (wanted[kernel] === undefined) return GENERAL[kernel];
    throw new InputError(
      `Cannot use ${kernel}=${variant} as the adapter must offer ${need.name}: this ` +
        "one does not; others are " +
        KERNEL_VARIANTS[kernel].filter((candidate) => findNeed(candidate) === undefined).join(", "),
    );
  };
  for (const [kernel, variant] of Object.entries(wanted)) {
    if (variant !== undefined) checkVariant(kernel, variant);
  }
  return {
    matmul: choose("matmul"),
    attention: choose("attention"),
    rows: choose("rows"),
    loss: choose("loss"),
  };
}

/** Returns whether an adapter can run a variant. */
export function runnable(variant: string, offers: Offers): boolean {
  const need = findNeed(variant);
  return need === undefined || offers[need.offer];
}

/** Lists for each kernel which variant runs, and why. */
export function variantReasons(
  kind: AdapterKind,
  offers: Offers,
  chosen: Variants,
  wanted: Partial<Variants> = {},
): { kernel: string; form: string; why: string }[] {
  return (Object.keys(KERNEL_VARIANTS) as (keyof Variants)[]).map((kernel) => {
    const usual = VARIANTS[kind][kernel];
    const meant = kind === "gpu"
      ? "meant for GPUs"
      : "meant for adapters that run on the processor";
    const why = wanted[kernel] !== undefined
      ? "asked for"
      : runnable(usual, offers)
      ? meant
      : `general, as the adapter lacks ${findNeed(usual)!.name} for ${usual}`;
    return { kernel, form: chosen[kernel], why };
  });
}

/** Lists all kernels with their variants, as in `rows=invocation|subgroup|workgroup`. */
export function variantsText(): string {
  return Object.entries(KERNEL_VARIANTS).map(([kernel, variants]) =>
    `${kernel}=${variants.join("|")}`
  ).join(
    ", ",
  );
}

/**
 * Reads `matmul=workgroup,attention=query`. Throws an `InputError` that lists the kernels and
 * variants that there are.
 */
export function parseVariants(text: string): Partial<Variants> {
  if (text.trim() === "") return {};
  const pairs = text.split(",").map((part) => {
    const [kernel, ...valueWords] = part.split("=").map((word) => word.trim());
    const variant = valueWords.join("=");
    checkVariant(kernel, variant);
    return [kernel, variant];
  });
  const repeated = pairs.find(([kernel], i) =>
    pairs.findIndex(([earlier]) => earlier === kernel) < i
  );
  if (repeated) {
    throw new InputError(
      `Cannot use variants of kernels "${text}" as each kernel must be named once: ${
        repeated[0]
      } is named twice`,
    );
  }
  return Object.fromEntries(pairs);
}

function checkVariant(kernel: string, variant: string): void {
  if (
    Object.hasOwn(KERNEL_VARIANTS, kernel) &&
    (KERNEL_VARIANTS[kernel as keyof Variants] as readonly string[]).includes(variant)
  ) {
    return;
  }
  throw new InputError(
    `Cannot use variant "${kernel}=${variant}" as it must be one of ${variantsText()}`,
  );
}
