/**
 * WGSL of matrix products for software adapters with subgroups of 8 lanes, one text per panel size.
 *
 * A workgroup is one subgroup: its lanes own neighbouring vec4s of columns. A panel of B (`panel` terms of every sum by
 * 32·`width` columns) is copied into a private array, which the driver keeps on the stack: reading it costs neither a
 * bounds check nor a gather. Rows of A then stream by: one coalesced load fetches 32 terms, and each is broadcast to the
 * lanes. kernels/NOTES.md tells what this is measured against. Sums run over the terms in ascending order (partial sums
 * wait in C between panels), so equal inputs give equal bits. Reference: matmulReference in matmul.ts.
 */

/** Shape of the text. */
export interface SubgroupTile {
  /** Terms of a sum per panel, a multiple of 32. */
  panel: number;
  /** vec4s of columns per lane. */
  width: number;
  /** Whether A holds the terms along its rows, `[k, m]`: C = Aᵀ · B. */
  transposed: boolean;
  /** Whether the panel divides the number of terms: no guards are needed. */
  exact: boolean;
}

const LANES = 8;
/**
 * Terms between two stores into a spare place of the panel. They are never read: loads of the panel cannot move above
 * them, or the compiler would multiply everything first, add later, and spill every product.
 */
const FENCE = 4;

/** Returns the WGSL between the declarations and the tail: bindings `a`, `b`, `c` and `finish(model, row, column, sum)`. */
export function subgroupMain({ panel, width, transposed, exact }: SubgroupTile): string {
  const columns = Array.from({ length: width }, (_, j) => j);
  const body: string[] = [];
  for (let k = 0; k < panel; k++) {
    if (transposed && k % LANES === 0) body.push(`let a${k / LANES} = v${k / LANES}[part];`);
    if (!transposed && k % (4 * LANES) === 0) {
      const load = `a[a_row + (k0 + ${k}u) / 4u + lane]`;
      const inside = `k0 + ${k}u + lane * 4u < params.k`;
      body.push(`let a${k / (4 * LANES)} = ${exact ? load : `select(vec4f(), ${load}, ${inside})`};`);
    }
    const scalar = transposed
      ? `subgroupBroadcast(a${Math.floor(k / LANES)}, ${k % LANES}u)`
      : `subgroupBroadcast(a${Math.floor(k / (4 * LANES))}.${"xyzw"[k % 4]}, ${Math.floor(k / 4) % LANES}u)`;
    body.push(
      `{ let s = ${scalar}; ${columns.map((j) => `c${j} += s * panel[${k * width + j}];`).join(" ")} }`,
    );
    if (k % FENCE === FENCE - 1 && k < panel - 1) {
      body.push(`panel[${panel * width}] = c${Math.floor(k / FENCE) % width};`);
    }
  }
  const row = [
    `let c_row = params.c_offset + model * params.c_model + row * params.c_stride + column;`,
    ...columns.map((j) => `var c${j} = vec4f();`),
    `if (k0 > 0u || RESUME == 1u) { ${
      columns.map((j) => `if (column + ${LANES * j}u < params.n4) { c${j} = c[c_row + ${LANES * j}u]; }`)
        .join(" ")
    } }`,
    ...(transposed ? [] : [`let a_row = a_base + row * params.a_stride;`]),
    ...body,
    `if (k0 + ${panel}u < params.k) {`,
    ...columns.map((j) => `  if (column + ${LANES * j}u < params.n4) { c[c_row + ${LANES * j}u] = c${j}; }`),
    `} else {`,
    ...columns.map((j) => `  finish(model, row, column + ${LANES * j}u, c${j});`),
    `}`,
  ];
  const fill = columns.map((j) => {
    const load = `b[b_base + (k0 + k) * params.b_stride + min(column + ${LANES * j}u, params.n4 - 1u)]`;
    return `panel[k * ${width}u + ${j}u] = ${exact ? load : `select(vec4f(), ${load}, k0 + k < params.k)`};`;
  });
  const fetch = Array.from({ length: panel / LANES }, (_, i) => {
    const load = `a[a_base + (k0 + ${i * LANES}u + lane) * params.a_stride + row4]`;
    return `let v${i} = ${exact ? load : `select(vec4f(), ${load}, k0 + ${i * LANES}u + lane < params.k)`};`;
  });
  const rows = transposed
    ? [
      `for (var row4 = first / 4u; row4 * 4u < end; row4++) {`,
      ...fetch,
      `for (var part = 0u; part < 4u; part++) {`,
      `let row = row4 * 4u + part;`,
      `if (row >= end) { break; }`,
      ...row,
      `} }`,
    ]
    : [`for (var row = first; row < end; row++) {`, ...row, `}`];
  return `
@compute @workgroup_size(${LANES})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let tile = group.y * grid.x + group.x;
  let across = (params.n4 + ${LANES * width - 1}u) / ${LANES * width}u;
  let first = (tile / across) * params.rows;
  let column = (tile % across) * ${LANES * width}u + lane;
  let end = min(first + params.rows, params.m);
  if (first >= params.m) { return; }
  let model = group.z;
  let a_base = params.a_offset + model * params.a_model;
  let b_base = params.b_offset + model * params.b_model;
  var panel: array<vec4f, ${panel * width + 1}>;
  for (var k0 = 0u; k0 < params.k; k0 += ${panel}u) {
    for (var k = 0u; k < ${panel}u; k++) {
      ${fill.join("\n      ")}
    }
    ${rows.join("\n    ")}
  }
}
`;
}
