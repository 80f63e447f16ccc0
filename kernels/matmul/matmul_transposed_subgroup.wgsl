// matmul_transposed_subgroup: C = Aᵀ · B per model of a bank. For software adapters with subgroups of 8 lanes.
//
//   a  [models, k, a_stride]  vec4  read   strides and offsets count vec4s; padding columns may hold anything finite
//   b  [models, k, b_stride]  vec4  read
//   c  [models, m, c_stride]  vec4  write  accumulate 1: adds into c
//   sums  [models, m4]        vec4  write  sums of a's columns (the bias gradient), where with_sums is 1; padding is zero
//
// A workgroup is one subgroup and holds 32 rows by 4 · SPAN columns of C in private arrays, which the driver keeps on
// the stack, over all terms. A term is a row of both matrices: one coalesced load fetches 32 values of A, which are
// broadcast one by one, and a load per vec4 of columns fetches those of B. So no sum waits in storage, and the lanes'
// loads of a term are neighbours. Sums run over the terms in ascending order, those of A's columns as well, so equal
// inputs give equal bits. kernels/NOTES.md tells what this is measured against. The loops that must be unrolled are
// fragments: matmul_transposed_subgroup.ts writes them. Reference: matmulReference in matmul.ts.

const SPAN: u32 = 16u; // vec4s of columns of a workgroup: 8 lanes by the width of a tile
const ROWS: u32 = 32u; // of C per workgroup: one load of A
const TERMS: u32 = 2u; // that are added between a load and a store of C

struct Params {
  accumulate: u32,
  m: u32, n4: u32, k: u32,
  a_offset: u32, a_stride: u32, a_model: u32,
  b_offset: u32, b_stride: u32, b_model: u32,
  c_offset: u32, c_stride: u32, c_model: u32,
  with_sums: u32,
}

// include matmul_transposed_bindings

// include matmul_transposed_tail

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let tile = group.y * grid.x + group.x;
  let across = (params.n4 + (SPAN - 1u)) / SPAN;
  let first = (tile / across) * ROWS;
  let column = (tile % across) * SPAN + lane; // the lane's first vec4
  if (first >= params.m) { return; }
  // The vec4s per lane in the last tile of a row: a bound that the driver cannot see, or it would unroll loops.
  let own = (min(SPAN, params.n4 - (column - lane)) + 7u) / 8u;
  let model = group.z;
  // A lane without rows or columns reads another's and stores nothing.
  let row4 = first / 4u + lane;
  let a_base = params.a_offset + model * params.a_model + min(row4, (params.m - 1u) / 4u);
  // include column_bases
  // include tile_arrays
  var column_sum = vec4f();
  for (var k = 0u; k < params.k; k += TERMS) {
    // include load_terms
    // include add_terms
  }
  if (params.with_sums == 1u && column == lane && row4 * 4u < params.m) { store_sum(model, row4, column_sum); }
  for (var row = first; row < min(first + ROWS, params.m); row++) {
    for (var j = 0u; j < own; j++) {
      // include pick_sum
      finish(model, row, column + 8u * j, sum);
    }
  }
}
