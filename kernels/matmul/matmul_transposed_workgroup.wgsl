// matmul_transposed_workgroup: C = Aᵀ · B per model of a bank. For GPUs: tiles of A and B in workgroup memory.
//
//   a  [models, k, a_stride]  vec4  read   strides and offsets count vec4s; padding columns may hold anything finite
//   b  [models, k, b_stride]  vec4  read
//   c  [models, m, c_stride]  vec4  write  ACCUMULATE 1: adds into c
//   sums  [models, m4]        vec4  write  sums of a's columns (the bias gradient), where with_sums is 1; padding is zero
//
// One workgroup per ROWS × 4 SPAN elements of C, numbered along the columns, then the rows. An invocation holds some vec4s of
// rows, ROW_STEP apart, of some vec4s of columns, COLUMN_STEP apart. Both matrices lie term by term, so both are fetched alike,
// neighbours side by side, in slices of TERMS: one is fetched and another stored while a third is multiplied, with one barrier
// per slice. Loops over an invocation's elements and over a slice are unrolled, as in matmul_workgroup. Every element, and
// every sum of a's columns, is one sum over k in ascending order, whatever the tile: equal bits.
// Reference: matmulReference in matmul.ts.

override ACCUMULATE: u32 = 0u;
const ROWS: u32 = 64u; // of a tile
const SPAN: u32 = 16u; // vec4s across a tile
const DOWN: u32 = ROWS / 4u; // vec4s of rows down a tile
const TERMS: u32 = 8u; // of a slice
const ROW_STEP: u32 = 8u; // lanes along the rows
const COLUMN_STEP: u32 = 8u; // lanes along the columns

struct Params {
  m: u32, n4: u32, k: u32,
  a_offset: u32, a_stride: u32, a_model: u32,
  b_offset: u32, b_stride: u32, b_model: u32,
  c_offset: u32, c_stride: u32, c_model: u32,
  with_sums: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;
@group(0) @binding(2) var<storage, read> b: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> c: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> sums: array<vec4f>;

fn load_a(i: u32) -> vec4f { return a[i]; }
fn load_b(i: u32) -> vec4f { return b[i]; }
fn load_c(i: u32) -> vec4f { return c[i]; }
fn store_c(i: u32, value: vec4f) { c[i] = value; }

var<workgroup> a_tile: array<array<array<vec4f, DOWN>, TERMS>, 2>; // [slice][term][vec4 of rows]
var<workgroup> b_tile: array<array<array<vec4f, SPAN>, TERMS>, 2>; // [slice][term][vec4 of columns]

// include matmul_transposed_tail

fn fetch_a(row_start: u32, row4: u32, term: u32) -> vec4f {
  if (row4 * 4u >= params.m || term >= params.k) { return vec4f(); }
  return load_a(row_start + term * params.a_stride);
}

fn fetch_b(column_start: u32, column: u32, term: u32) -> vec4f {
  if (column >= params.n4 || term >= params.k) { return vec4f(); }
  return load_b(column_start + term * params.b_stride);
}

@compute @workgroup_size(ROW_STEP * COLUMN_STEP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let tile = group.y * grid.x + group.x;
  let across = (params.n4 + SPAN - 1u) / SPAN;
  let first_row4 = (tile / across) * DOWN;
  let first_column = (tile % across) * SPAN;
  if (first_row4 * 4u >= params.m) { return; }
  let model = group.z;
  let a_start = params.a_offset + model * params.a_model + first_row4;
  let b_start = params.b_offset + model * params.b_model + first_column;
  let row = lane / COLUMN_STEP;
  let column = lane % COLUMN_STEP;
  let sums_columns = params.with_sums == 1u && first_column + column == 0u;
  // include places
  // include sums
  // include fetch_first
  // include store_first
  workgroupBarrier();
  for (var k = TERMS; k < params.k + TERMS; k += 2u * TERMS) {
    // include slice_0
    workgroupBarrier();
    // include slice_1
    workgroupBarrier();
  }
  // include store_sums
  // include finish_all
}
