/**
 * WGSL of `C = Aᵀ · B` for software adapters with subgroups of 8 lanes, one text per tile.
 *
 * A workgroup is one subgroup and holds 32 rows by 32·`width` columns of C in private arrays, which the driver keeps on
 * the stack, over all terms. A term is a row of both matrices: one coalesced load fetches 32 values of A, which are
 * broadcast one by one, and `width` loads fetch those of B, each lane its own vec4s of columns. So no sum waits in
 * storage, and the lanes' loads of a term are neighbours. Sums run over the terms in ascending order, those of A's
 * columns as well, so equal inputs give equal bits. kernels/NOTES.md tells what this is measured against. Reference:
 * matmulReference in matmul.ts.
 */

import { chosen, laneArrays, LANES, tileStart, XYZW } from "../device/subgroup.ts";

/** Shape of the text. Its length grows with `width · terms`; it is slow where it exceeds the instruction cache. */
export interface UpdateTile {
  /** vec4s of columns per lane. */
  width: number;
  /** Terms that are added between a load and a store of C. */
  terms: number;
}

/** Rows of C per workgroup: one load of A. */
export const UPDATE_ROWS = 4 * LANES;

/** Returns the WGSL of `main`, which uses `load_a`, `load_b`, `store_sum(model, row4, sum)` and `finish(model, row, column, sum)`. */
export function subgroupUpdates({ width, terms }: UpdateTile): string {
  const columns = Array.from({ length: width }, (_, j) => j);
  const steps = Array.from({ length: terms }, (_, t) => t);
  const c = laneArrays("c", width, UPDATE_ROWS);
  const update = Array.from({ length: UPDATE_ROWS }, (_, row) => {
    const factors = steps.map((t) =>
      `let s${t} = subgroupBroadcast(a${t}.${XYZW[row % 4]}, ${Math.floor(row / 4)}u);`
    );
    const sums = columns.map((j) => {
      const products = steps.map((t) => `sum += s${t} * b${t}_${j};`).join(" ");
      return `{ var sum = ${c.vector(j, row)}; ${products} ${c.store(j, row, "sum")} }`;
    });
    return `{ ${factors.join(" ")} ${sums.join(" ")} }`;
  });
  const fetch = (t: number, load: string, base: string, stride: string) =>
    t === 0
      ? `${load}(${base} + k * ${stride})`
      : `select(vec4f(), ${load}(${base} + term${t} * ${stride}), inside${t})`;
  const loads = steps.map((t) => `
    ${t === 0 ? "" : `let inside${t} = k + ${t}u < params.k; let term${t} = min(k + ${t}u, params.k - 1u);`}
    let a${t} = ${fetch(t, "load_a", "a_base", "params.a_stride")};
    column_sum += a${t};
    ${
    columns.map((j) => `let b${t}_${j} = ${fetch(t, "load_b", `b_base${j}`, "params.b_stride")};`).join(
      "\n    ",
    )
  }`);
  return `${tileStart(width, `${UPDATE_ROWS}u`)}
  // A lane without rows or columns reads another's and stores nothing.
  let row4 = first / 4u + lane;
  let a_base = params.a_offset + model * params.a_model + min(row4, (params.m - 1u) / 4u);
  ${
    columns.map((j) =>
      `let b_base${j} = params.b_offset + model * params.b_model + min(column + ${
        LANES * j
      }u, params.n4 - 1u);`
    ).join("\n  ")
  }
  ${c.declarations}
  var column_sum = vec4f();
  for (var k = 0u; k < params.k; k += ${terms}u) {${loads.join("")}
    ${update.join("\n    ")}
  }
  if (params.with_sums == 1u && column == lane && row4 * 4u < params.m) { store_sum(model, row4, column_sum); }
  for (var row = first; row < min(first + ${UPDATE_ROWS}u, params.m); row++) {
    for (var j = 0u; j < own; j++) {
      let sum = ${chosen(columns.map((j) => c.vector(j, "row - first")))};
      finish(model, row, column + ${LANES}u * j, sum);
    }
  }
}
`;
}
