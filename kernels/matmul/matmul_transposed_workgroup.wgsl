// matmul_transposed_workgroup: C = Aᵀ · B per model of a bank. For GPUs: tiles of A and B in workgroup memory.
//
//   a  [models, k, a_stride]  vec4  read   strides and offsets count vec4s; padding columns may hold anything finite
//   b  [models, k, b_stride]  vec4  read
//   c  [models, m, c_stride]  vec4  write  ACCUMULATE 1: adds into c; SPLIT 1: [models, segments, m · n4 + m4], see below
//   sums  [models, m4]        vec4  write  sums of a's columns (the bias gradient), where with_sums is 1; padding is zero. Where
//                                          it is 2 they go to sum_offset of c, which ACCUMULATE 1 adds to
//
// One workgroup per ROWS × 4 SPAN elements of C, numbered along the columns, then the rows. An invocation holds some vec4s of
// rows, ROW_STEP apart, of some vec4s of columns, COLUMN_STEP apart. Both matrices lie term by term, so both are fetched alike,
// neighbours side by side, in slices of TERMS: one is fetched and another stored while a third is multiplied, with one barrier
// per slice. Loops over an invocation's elements and over a slice are unrolled, as in matmul_workgroup. Every element, and
// every sum of a's columns, is the sum, in ascending order, of sums over segments of SEGMENT terms, each in ascending order:
// equal bits whatever the tile, and whether one workgroup takes all segments of a tile (SPLIT 0), or one each (SPLIT 1).
// In the latter case c takes a segment's elements and then its sums of columns, and matmul_join adds them.
// Reference: matmulReference in matmul.ts.

override ACCUMULATE: u32 = 0u;
override SPLIT: u32 = 0u;
const SEGMENT: u32 = 512u; // a multiple of two slices
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
  with_sums: u32, sum_offset: u32, sum_model: u32,
}

// include matmul_transposed_bindings

var<workgroup> a_tile: array<array<array<vec4f, DOWN>, TERMS>, 2>; // [slice][term][vec4 of rows]
var<workgroup> b_tile: array<array<array<vec4f, SPAN>, TERMS>, 2>; // [slice][term][vec4 of columns]

fn finish(model: u32, segment: u32, row: u32, column: u32, sum: vec4f) {
  if (row >= params.m || column >= params.n4) { return; }
  if (SPLIT == 1u) {
    let part = params.m * params.n4 + (params.m + 3u) / 4u;
    store_c((model * ((params.k + SEGMENT - 1u) / SEGMENT) + segment) * part + row * params.n4 + column, sum);
    return;
  }
  let index = params.c_offset + model * params.c_model + row * params.c_stride + column;
  if (ACCUMULATE == 1u || segment > 0u) { store_c(index, load_c(index) + sum); } else { store_c(index, sum); }
}

// Of vec4 `row4` of a's columns.
fn finish_sum(model: u32, segment: u32, row4: u32, sum: vec4f) {
  if (row4 * 4u >= params.m) { return; }
  let real = row4 * 4u + vec4u(0u, 1u, 2u, 3u) < vec4u(params.m);
  let own = select(vec4f(), sum, real);
  let m4 = (params.m + 3u) / 4u;
  if (SPLIT == 1u) {
    let part = params.m * params.n4 + m4;
    store_c((model * ((params.k + SEGMENT - 1u) / SEGMENT) + segment) * part + params.m * params.n4 + row4, own);
    return;
  }
  if (params.with_sums == 2u) {
    let place = params.sum_offset + model * params.sum_model + row4;
    if (ACCUMULATE == 1u || segment > 0u) { store_c(place, load_c(place) + own); } else { store_c(place, own); }
    return;
  }
  let index = model * m4 + row4;
  if (segment > 0u) { sums[index] += own; } else { sums[index] = own; }
}

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
  let index = group.y * grid.x + group.x;
  let segments = max(1u, (params.k + SEGMENT - 1u) / SEGMENT);
  let first_segment = select(0u, index % segments, SPLIT == 1u);
  let last_segment = select(segments, first_segment + 1u, SPLIT == 1u);
  let tile = select(index, index / segments, SPLIT == 1u);
  let across = (params.n4 + SPAN - 1u) / SPAN;
  let first_row4 = (tile / across) * DOWN;
  let first_column = (tile % across) * SPAN;
  if (first_row4 * 4u >= params.m) { return; }
  let model = group.z;
  let a_start = params.a_offset + model * params.a_model + first_row4;
  let b_start = params.b_offset + model * params.b_model + first_column;
  let row = lane / COLUMN_STEP;
  let column = lane % COLUMN_STEP;
  let sums_columns = params.with_sums > 0u && first_column + column == 0u;
  // include places
  for (var segment = first_segment; segment < last_segment; segment++) {
    let begin = segment * SEGMENT;
    let end = min(begin + SEGMENT, params.k);
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
    // include store_sums
    // include finish_all
  }
}
