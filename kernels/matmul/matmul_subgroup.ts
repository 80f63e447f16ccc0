/**
 * WGSL of `C = A · B` for software adapters with subgroups of 8 lanes, one text per width.
 *
 * A workgroup is one subgroup: its lanes own neighbouring vec4s of columns. A panel of B (128 terms of every sum by
 * 32·`width` columns) is copied into private arrays, which the driver keeps on the stack: reading them costs neither a
 * bounds check nor a gather. Rows of A then stream by: one coalesced load fetches 32 terms, and each is broadcast to the
 * lanes. kernels/NOTES.md tells what this is measured against. Sums run over the terms in ascending order (partial sums
 * wait in C between panels, in f32), so equal inputs give equal bits. Reference: matmulReference in matmul.ts.
 *
 * Compiling is what a text costs, so whatever else a product needs (its tail, sums that go on) is a uniform, and the
 * panel is one array of scalars per column that a lane owns: the driver's compiler compares all uses of an array with
 * one another.
 */

import { chosen, laneArrays, LANES, tileStart } from "../device/subgroup.ts";

/** Shape of the text. */
export interface SubgroupTile {
  /** vec4s of columns per lane: 1 or 2. */
  width: number;
  /** Whether partial sums wait in a binding `sums` of their own, f32 `[models, m, n4]`, where C would round them. */
  apart?: boolean;
}

/** Terms that one load of A fetches. */
const LOAD = 4 * LANES;
/** Terms of a sum per panel. */
export const PANEL = 128;
/**
 * Terms between two stores into a spare place of every array. They are never read: loads of the panel cannot move above
 * them, or the compiler would multiply everything first, add later, and spill every product.
 */
const FENCE = 16;

/**
 * Terms that are added without asking whether there are any; a panel's last blocks are left out where there are none. Every
 * question selects all sums of a lane, so that wide panels ask less often.
 */
export function blockTerms(width: number): number {
  return LOAD * width;
}

/** Returns the WGSL of `main`, which uses `load_a`, `load_b`, `load_c` and `finish(model, row, column, sum, tail)`. */
export function subgroupMain({ width, apart = false }: SubgroupTile): string {
  const columns = Array.from({ length: width }, (_, j) => j);
  const panel = laneArrays("panel", width, PANEL + 1);
  const block = blockTerms(width);
  const body: string[] = [];
  for (let k = 0; k < PANEL; k++) {
    const a = `a${Math.floor(k / LOAD)}`;
    if (k % block === 0) body.push(k === 0 ? "{" : `if (k0 + ${k}u < params.k) {`);
    if (k % LOAD === 0) {
      const load = `load_a(a_row + (k0 + ${k}u) / 4u + lane)`;
      body.push(`let ${a} = select(vec4f(), ${load}, k0 + ${k}u + lane * 4u < params.k);`);
    }
    const scalar = `subgroupBroadcast(${a}.${"xyzw"[k % 4]}, ${Math.floor(k / 4) % LANES}u)`;
    body.push(
      `{ let s = ${scalar}; ${columns.map((j) => `c${j} += s * ${panel.vector(j, k)};`).join(" ")} }`,
    );
    if (k % block === block - 1) body.push("}");
    else if (k % FENCE === FENCE - 1) {
      body.push(...columns.map((j) => panel.store(j, PANEL, `c${j}`)));
    }
  }
  const at = `column + ${LANES}u * j`;
  const apartFromC = `if (${at} < params.n4) { sums[sums_row + ${LANES}u * j] = sum; }`;
  const last = `k0 + ${PANEL}u >= params.k`;
  const store = apart
    ? `if (${last}) { finish(model, row, ${at}, sum, params.tail); } else ${apartFromC}`
    : `finish(model, row, ${at}, sum, select(0u, params.tail, ${last}));`; // one store of C, not two, to compile
  return `${tileStart(width, "params.rows")}
  let end = min(first + params.rows, params.m);
  let a_base = params.a_offset + model * params.a_model;
  let b_base = params.b_offset + model * params.b_model;
  ${panel.declarations}
  for (var k0 = 0u; k0 < params.k; k0 += ${PANEL}u) {
    for (var k = 0u; k < min(${PANEL}u, (params.k - k0 + ${block - 1}u) / ${block}u * ${block}u); k++) {
      let term = b_base + (k0 + k) * params.b_stride;
      ${
    columns.map((j) =>
      `let b${j} = select(vec4f(), load_b(term + min(column + ${
        LANES * j
      }u, params.n4 - 1u)), k0 + k < params.k);`
    ).join("\n      ")
  }
      ${columns.map((j) => panel.store(j, "k", `b${j}`)).join(" ")}
    }
    for (var row = first; row < end; row++) {
      let a_row = a_base + row * params.a_stride;
      let c_row = params.c_offset + model * params.c_model + row * params.c_stride + column;
      ${apart ? "let sums_row = (model * params.m + row) * params.n4 + column;" : ""}
      ${columns.map((j) => `var c${j} = vec4f();`).join(" ")}
      if (k0 > 0u || params.resume == 1u) {
        for (var j = 0u; j < own; j++) {
          // A lane without a column reads another's and stores nothing.
          ${
    apart
      ? `var before = load_c(c_row + ${LANES}u * j); if (k0 > 0u) { before = sums[sums_row + ${LANES}u * j]; }`
      : `let before = load_c(c_row + ${LANES}u * j);`
  }
          ${columns.map((j) => `c${j} = select(c${j}, before, j == ${j}u);`).join(" ")}
        }
      }
      ${body.join("\n      ")}
      for (var j = 0u; j < own; j++) {
        let sum = ${chosen(columns.map((j) => `c${j}`))};
        ${store}
      }
    }
  }
}
`;
}
