// matmul_workgroup: C = A · B per model of a bank, with a fused tail. For GPUs: tiles of A and B in workgroup memory.
//
//   a      [models, m, a_stride]       vec4  read        strides and offsets count vec4s; padding columns may hold anything finite
//   b      [models, k, b_stride]       vec4  read        padding columns are zero
//   bias   [models, n4]                vec4  read        used by TAIL 1, 2, 3
//   extra  [models, m, extra_stride]   vec4  read/write  TAIL 2 writes the sum before GELU; 3 to 5 read
//   c      [models, m, c_stride]       vec4  write       ACCUMULATE 1: adds into c
//
// TAIL 0: A·B    1: + bias    2: gelu(A·B + bias)    3: A·B + bias + extra    4: A·B ⊙ gelu'(extra)    5: A·B + extra
//
// One workgroup per ROWS × 4 SPAN elements of C, numbered along the columns, then the rows. An invocation holds some rows,
// ROW_STEP apart, of some vec4s of columns, COLUMN_STEP apart: what a subgroup reads at once lies in different banks. Terms
// come in slices of TERMS, of which one is fetched and another stored while a third is multiplied: one barrier per slice.
// Loops over an invocation's elements and over a slice are unrolled, so that of every index only what no loop changes is not
// a constant. Every element is one sum over k in ascending order, or of more than SEGMENT terms the sum of such sums over
// segments (matmul_segments), whatever the tile: equal bits. `element` says whether
// tiles hold f32 or f16 (matmul_workgroup_f16). Reference: matmulReference in matmul.ts.

override TAIL: u32 = 0u;
override ACCUMULATE: u32 = 0u;
const ROWS: u32 = 64u; // of a tile
const SPAN: u32 = 16u; // vec4s across a tile
const TERMS: u32 = 8u; // of a slice
const SEGMENT: u32 = 4096u; // a multiple of two slices; in texts for long sums
const ROW_STEP: u32 = 8u; // lanes along the rows
const COLUMN_STEP: u32 = 8u; // lanes along the columns

struct Params {
  m: u32, n4: u32, k: u32,
  a_offset: u32, a_stride: u32, a_model: u32,
  b_offset: u32, b_stride: u32, b_model: u32,
  bias_offset: u32, bias_model: u32,
  extra_offset: u32, extra_stride: u32, extra_model: u32,
  c_offset: u32, c_stride: u32, c_model: u32,
}

@group(0) @binding(1) var<storage, read> a: array<vec4f>;

fn load_a(i: u32) -> vec4f { return a[i]; }

// include element
var<workgroup> a_tile: array<array<array<Element, TERMS / 4u>, ROWS>, 2>; // [slice][row][vec4 of terms]
var<workgroup> b_tile: array<array<array<Element, SPAN>, TERMS>, 2>; // [slice][term][vec4 of columns]

// include matmul_tail
// include segments

fn fetch_a(row_start: u32, row: u32, term: u32) -> vec4f {
  if (row >= params.m || term >= params.k) { return vec4f(); }
  return load_a(row_start + term / 4u); // what lies beyond k in it meets zeros of b
}

fn fetch_b(column_start: u32, column: u32, term: u32) -> vec4f {
  if (column >= params.n4 || term >= params.k) { return vec4f(); }
  return load_b(column_start + term * params.b_stride);
}

@compute @workgroup_size(ROW_STEP * COLUMN_STEP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let index = group.y * grid.x + group.x;
  // include choose_segments
  let across = (params.n4 + SPAN - 1u) / SPAN;
  let first_row = (tile / across) * ROWS;
  let first_column = (tile % across) * SPAN;
  if (first_row >= params.m) { return; }
  let model = group.z;
  let a_start = params.a_offset + model * params.a_model;
  let b_start = params.b_offset + model * params.b_model;
  let row = lane / COLUMN_STEP;
  let column = lane % COLUMN_STEP;
  // include places
  // include each_segment
    // include sums
    // include fetch_first
    // include store_first
    workgroupBarrier();
    for (var k = begin + TERMS; k < end + TERMS; k += 2u * TERMS) {
      // include slice_0
      workgroupBarrier();
      // include slice_1
      workgroupBarrier();
    }
    // include finish_all
  }
}
