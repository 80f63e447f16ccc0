// matmul_transposed_workgroup: C = Aᵀ · B per model of a bank. For GPUs: tiles of A and B in workgroup memory.
//
//   a  [models, k, a_stride]  vec4  read   strides and offsets count vec4s; padding columns may hold anything finite
//   b  [models, k, b_stride]  vec4  read
//   c  [models, m, c_stride]  vec4  write  ACCUMULATE 1: adds into c
//   sums  [models, m4]        vec4  write  sums of a's columns (the bias gradient), where with_sums is 1; padding is zero
//
// One workgroup per TILE × TILE elements of C, numbered along the columns, then the rows; an invocation holds 4 rows of
// one vec4 of columns. Both matrices lie term by term, so each invocation fetches one vec4 of either per slice of
// TILE / 4 terms, neighbours side by side, while the slice before is multiplied. Every element is one sum over k in
// ascending order, whatever TILE is; sums of a's columns go over each invocation's terms, then over invocations: equal
// bits. Reference: matmulReference in matmul.ts.

override TILE: u32 = 64u; // a multiple of 16
override ACCUMULATE: u32 = 0u;
override SPAN: u32 = TILE / 4u; // vec4s across the tile, and terms of a slice
override WG: u32 = SPAN * SPAN;

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

var<workgroup> a_tile: array<vec4f, WG>; // [term][vec4 of rows]
var<workgroup> b_tile: array<vec4f, WG>; // [term][vec4 of columns]

// include matmul_transposed_tail

fn fetch_a(row_start: u32, row4: u32, term: u32) -> vec4f {
  if (row4 * 4u >= params.m || term >= params.k) { return vec4f(); }
  return load_a(row_start + term * params.a_stride);
}

fn fetch_b(column_start: u32, column: u32, term: u32) -> vec4f {
  if (column >= params.n4 || term >= params.k) { return vec4f(); }
  return load_b(column_start + term * params.b_stride);
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let tile = group.y * grid.x + group.x;
  let across = (params.n4 + SPAN - 1u) / SPAN;
  let first_row4 = (tile / across) * SPAN;
  let first_column = (tile % across) * SPAN;
  if (first_row4 * 4u >= params.m) { return; }
  let model = group.z;

  let place = lane % SPAN; // what this invocation fetches: a vec4 of rows of A, a vec4 of columns of B, of one term
  let term = lane / SPAN; // and the vec4 of rows of C that it holds
  let a_row4 = first_row4 + place;
  let a_start = params.a_offset + model * params.a_model + a_row4;
  let column = first_column + place;
  let b_start = params.b_offset + model * params.b_model + column;

  var c0 = vec4f();
  var c1 = vec4f();
  var c2 = vec4f();
  var c3 = vec4f();
  var own_sum = vec4f(); // of the vec4s of A that this invocation fetches
  var next_a = fetch_a(a_start, a_row4, term);
  var next_b = fetch_b(b_start, column, term);
  for (var k = 0u; k < params.k; k += SPAN) {
    a_tile[lane] = next_a;
    own_sum += next_a;
    b_tile[lane] = next_b;
    workgroupBarrier();
    next_a = fetch_a(a_start, a_row4, k + SPAN + term);
    next_b = fetch_b(b_start, column, k + SPAN + term);
    for (var at = 0u; at < WG; at += 4u * SPAN) { // four terms at a time
      let x0 = a_tile[at + term];
      let x1 = a_tile[at + SPAN + term];
      let x2 = a_tile[at + 2u * SPAN + term];
      let x3 = a_tile[at + 3u * SPAN + term];
      let y0 = b_tile[at + place];
      let y1 = b_tile[at + SPAN + place];
      let y2 = b_tile[at + 2u * SPAN + place];
      let y3 = b_tile[at + 3u * SPAN + place];
      c0 = (((c0 + x0.x * y0) + x1.x * y1) + x2.x * y2) + x3.x * y3;
      c1 = (((c1 + x0.y * y0) + x1.y * y1) + x2.y * y2) + x3.y * y3;
      c2 = (((c2 + x0.z * y0) + x1.z * y1) + x2.z * y2) + x3.z * y3;
      c3 = (((c3 + x0.w * y0) + x1.w * y1) + x2.w * y2) + x3.w * y3;
    }
    workgroupBarrier();
  }
  if (params.with_sums == 1u && first_column == 0u) {
    a_tile[lane] = own_sum;
    workgroupBarrier();
    if (term == 0u && a_row4 * 4u < params.m) {
      var sum = vec4f();
      for (var at = place; at < WG; at += SPAN) { sum += a_tile[at]; }
      store_sum(model, a_row4, sum);
    }
  }
  let row = (first_row4 + term) * 4u;
  finish(model, row, column, c0);
  finish(model, row + 1u, column, c1);
  finish(model, row + 2u, column, c2);
  finish(model, row + 3u, column, c3);
}
