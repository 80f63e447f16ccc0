// matmul_subgroup: C = A · B per model of a bank, with a fused tail. For software adapters with subgroups of 8 lanes.
//
//   a      [models, m, a_stride]       vec4  read        strides and offsets count vec4s; padding columns may hold anything finite
//   b      [models, k, b_stride]       vec4  read        padding columns are zero
//   bias   [models, n4]                vec4  read        used by tail 1, 2, 3
//   extra  [models, m, extra_stride]   vec4  read/write  tail 2 writes the sum before GELU; 3 to 5 read
//   c      [models, m, c_stride]       vec4  write       resume 1: sums go on from what it holds
//   sums   [models, m, n4]             vec4  read/write  where partial sums wait if c would round them; else there is none
//
// With HALVES 2 the left half of the columns are gates of the right half: extra [models, m, n4 / 2] takes gate ·
// sigmoid(gate) · value, and c takes the sums, without a tail.
//
// A workgroup is one subgroup: its lanes own neighbouring vec4s of columns. A panel of B (PANEL terms of every sum by
// 4 · SPAN columns) is copied into private arrays, which the driver keeps on the stack: reading them costs neither a
// bounds check nor a gather. Rows of A then stream by: one coalesced load fetches 32 terms, and each is broadcast to the
// lanes. kernels/NOTES.md tells what this is measured against. Sums run over the terms in ascending order (partial sums
// wait in c or in `sums` between panels, in f32), so equal inputs give equal bits.
//
// Compiling is what a text costs, so whatever else a product needs (its tail, sums that go on) is a uniform. The loops that
// must be unrolled are fragments: matmul_subgroup.ts writes them. Reference: matmulReference in matmul.ts.

const SPAN: u32 = 8u; // vec4s of columns of a workgroup: 8 lanes by the width of a panel
const PANEL: u32 = 128u; // terms of a sum per panel
const BLOCK: u32 = 32u; // terms that are added without asking whether there are any
const HALVES: u32 = 1u; // 2: a lane owns one vec4 of each half of the columns

struct Params {
  rows: u32, tail: u32, resume: u32,
  m: u32, n4: u32, k: u32,
  a_offset: u32, a_stride: u32, a_model: u32,
  b_offset: u32, b_stride: u32, b_model: u32,
  bias_offset: u32, bias_model: u32,
  extra_offset: u32, extra_stride: u32, extra_model: u32,
  c_offset: u32, c_stride: u32, c_model: u32,
}

@group(0) @binding(1) var<storage, read> a: array<vec4f>;
// include sums_binding

fn load_a(i: u32) -> vec4f { return a[i]; }

// include matmul_tail
// include sigmoid

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let tile = group.y * grid.x + group.x;
  let across = (params.n4 + (SPAN - 1u)) / SPAN;
  let first = (tile / across) * params.rows;
  let column = (tile % across) * (SPAN / HALVES) + lane; // the lane's first vec4
  let next = select(8u, params.n4 / 2u, HALVES == 2u); // from a lane's vec4 to its next
  if (first >= params.m) { return; }
  // The vec4s per lane in the last tile of a row: a bound that the driver cannot see, or it would unroll loops.
  let own = (min(SPAN / HALVES, params.n4 / HALVES - (column - lane)) + 7u) / 8u * HALVES;
  let model = group.z;
  let end = min(first + params.rows, params.m);
  let a_base = params.a_offset + model * params.a_model;
  let b_base = params.b_offset + model * params.b_model;
  // include panel_arrays
  for (var first_term = 0u; first_term < params.k; first_term += PANEL) {
    for (var k = 0u; k < min(PANEL, (params.k - first_term + (BLOCK - 1u)) / BLOCK * BLOCK); k++) {
      let term = b_base + (first_term + k) * params.b_stride;
      // include fill_panel
    }
    for (var row = first; row < end; row++) {
      let a_row = a_base + row * params.a_stride;
      let c_row = params.c_offset + model * params.c_model + row * params.c_stride + column;
      // include start_sums
      if (first_term > 0u || params.resume == 1u) {
        for (var j = 0u; j < own; j++) { // a lane without a column reads another's and stores nothing
          // include resume_sum
        }
      }
      // include add_terms
      for (var j = 0u; j < own; j++) {
        // include store_sum
      }
      // include store_gated
    }
  }
}
