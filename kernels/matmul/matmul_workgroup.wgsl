// matmul_workgroup: C = A · B per model of a bank, with a fused tail. For GPUs: tiles of A and B in workgroup memory.
//
//   a      [models, m, a_stride]       vec4  read        strides and offsets count vec4s; padding columns may hold anything finite
//   b      [models, k, b_stride]       vec4  read        padding columns are zero
//   bias   [models, n4]                vec4  read        used by TAIL 1, 2, 3
//   extra  [models, m, extra_stride]   vec4  read/write  TAIL 2 writes the sum before GELU; 3 and 4 read
//   c      [models, m, c_stride]       vec4  write       ACCUMULATE 1: adds into c
//
// TAIL 0: A·B    1: + bias    2: gelu(A·B + bias)    3: A·B + bias + extra    4: A·B ⊙ gelu'(extra)
//
// One workgroup per TILE × TILE elements of C, numbered along the columns, then the rows; an invocation holds 4 rows,
// TILE / 4 apart, of one vec4 of columns. Terms come in slices of TILE / 4, so that each invocation fetches one vec4 of
// A and one of B per slice, neighbours side by side, while the slice before is multiplied. Rows a slice apart are
// TILE / 4 floats apart: the rows that a subgroup reads at once lie in different banks. Every element is one sum over k
// in ascending order, whatever TILE is: equal bits. `element` says whether tiles hold f32 or f16.
// Reference: matmulReference in matmul.ts.

override TILE: u32 = 64u; // a multiple of 16
override TAIL: u32 = 0u;
override ACCUMULATE: u32 = 0u;
override SPAN: u32 = TILE / 4u; // vec4s across the tile, and terms of a slice
override QUADS: u32 = TILE / 16u; // vec4s of terms in a slice
override WG: u32 = SPAN * SPAN;

struct Params {
  m: u32, n4: u32, k: u32,
  a_offset: u32, a_stride: u32, a_model: u32,
  b_offset: u32, b_stride: u32, b_model: u32,
  bias_offset: u32, bias_model: u32,
  extra_offset: u32, extra_stride: u32, extra_model: u32,
  c_offset: u32, c_stride: u32, c_model: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;
@group(0) @binding(2) var<storage, read> b: array<vec4f>;
@group(0) @binding(3) var<storage, read> bias: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> extra: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> c: array<vec4f>;

fn load_a(i: u32) -> vec4f { return a[i]; }
fn load_b(i: u32) -> vec4f { return b[i]; }
fn load_extra(i: u32) -> vec4f { return extra[i]; }
fn store_extra(i: u32, value: vec4f) { extra[i] = value; }
fn load_c(i: u32) -> vec4f { return c[i]; }
fn store_c(i: u32, value: vec4f) { c[i] = value; }

// include element
var<workgroup> a_tile: array<Element, WG>; // [row][vec4 of terms]
var<workgroup> b_tile: array<Element, WG>; // [term][vec4 of columns]

// include matmul_tail

fn fetch_a(row_start: u32, row: u32, term: u32) -> vec4f {
  if (row >= params.m || term >= params.k) { return vec4f(); }
  return load_a(row_start + term / 4u); // what lies beyond k in it meets zeros of b
}

fn fetch_b(column_start: u32, column: u32, term: u32) -> vec4f {
  if (column >= params.n4 || term >= params.k) { return vec4f(); }
  return load_b(column_start + term * params.b_stride);
}

fn add_terms(sum: vec4f, x: Element, y0: vec4f, y1: vec4f, y2: vec4f, y3: vec4f) -> vec4f {
  let scale = vec4f(x);
  return (((sum + scale.x * y0) + scale.y * y1) + scale.z * y2) + scale.w * y3;
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let tile = group.y * grid.x + group.x;
  let across = (params.n4 + SPAN - 1u) / SPAN;
  let first_row = (tile / across) * TILE;
  let first_column = (tile % across) * SPAN;
  if (first_row >= params.m) { return; }
  let model = group.z;

  let a_row = first_row + lane / QUADS;
  let a_term = (lane % QUADS) * 4u;
  let a_start = params.a_offset + model * params.a_model + a_row * params.a_stride;
  let row = lane / SPAN; // of C, and the term of B that this invocation fetches
  let column = lane % SPAN;
  let b_column = first_column + column;
  let b_start = params.b_offset + model * params.b_model + b_column;

  var c0 = vec4f();
  var c1 = vec4f();
  var c2 = vec4f();
  var c3 = vec4f();
  var next_a = fetch_a(a_start, a_row, a_term);
  var next_b = fetch_b(b_start, b_column, row);
  for (var k = 0u; k < params.k; k += SPAN) {
    a_tile[lane] = element(next_a);
    b_tile[lane] = element(next_b);
    workgroupBarrier();
    next_a = fetch_a(a_start, a_row, k + SPAN + a_term);
    next_b = fetch_b(b_start, b_column, k + SPAN + row);
    for (var quad = 0u; quad < QUADS; quad++) {
      let at = quad * 4u * SPAN + column;
      let y0 = vec4f(b_tile[at]);
      let y1 = vec4f(b_tile[at + SPAN]);
      let y2 = vec4f(b_tile[at + 2u * SPAN]);
      let y3 = vec4f(b_tile[at + 3u * SPAN]);
      c0 = add_terms(c0, a_tile[row * QUADS + quad], y0, y1, y2, y3);
      c1 = add_terms(c1, a_tile[(row + SPAN) * QUADS + quad], y0, y1, y2, y3);
      c2 = add_terms(c2, a_tile[(row + 2u * SPAN) * QUADS + quad], y0, y1, y2, y3);
      c3 = add_terms(c3, a_tile[(row + 3u * SPAN) * QUADS + quad], y0, y1, y2, y3);
    }
    workgroupBarrier();
  }
  finish(model, first_row + row, b_column, c0);
  finish(model, first_row + row + SPAN, b_column, c1);
  finish(model, first_row + row + 2u * SPAN, b_column, c2);
  finish(model, first_row + row + 3u * SPAN, b_column, c3);
}
