// linear_nll_backward: the gradients of a linear layer's inputs and weights out of its loss, without stored logits. For GPUs.
//
//   a           [models, rows, a_stride]     vec4  read   strides and offsets count vec4s; padding columns may hold anything finite
//   b           [models, k, b_stride]        vec4  read   columns from vocab on are padding
//   other       [models, terms, other_stride]  vec4  read   OVER_ROWS 0: b transposed, vocab terms; 1: a, rows terms. Padding is zero
//   targets     [models, rows]               u32   read   each < vocab
//   weights     [models, rows]               f32   read   weight of the row in the loss; 0 masks it
//   statistics  [models, rows]               vec2  read   a row's peak, and the sum of exp(x - peak), of linear_nll
//   out         [models, m, out_stride]      vec4  write  OVER_ROWS 0: gradient of a, m = rows; 1: of b transposed, m = vocab.
//                                                         ACCUMULATE 1: adds into out. Padding becomes zero
//
// d[r, v] = weights[r] * (exp(x[r, v] - peak[r]) / sum[r] - [v = targets[r]]) with x = a · b
// OVER_ROWS 0: out[r] = sum_v d[r, v] * other[v]; 1: out[v] = sum_r d[r, v] * other[r]
//
// A workgroup owns 64 rows of out and goes through the other axis in tiles of 64: it computes 64 by 64 logits, 16 terms at a time,
// shares their d, and adds its products to out, where no other workgroup writes. Each of 16 by 16 invocations has four rows of a
// vec4, of logits as of out. Every element is a sum over tiles in ascending order, of sums over four terms each in ascending order:
// equal bits, whatever other rows of out there are. Reference: linearNllBackwardReference in linear_nll.ts.

override OVER_ROWS: u32 = 0u;
override ACCUMULATE: u32 = 0u;

const SIDE: u32 = 64u; // of a tile
const SIDE4: u32 = 16u; // its vec4s
const TERMS: u32 = 16u; // of a logit that pass through workgroup memory at once

struct Params {
  rows: u32, vocab: u32, k: u32,
  a_offset: u32, a_stride: u32, a_model: u32,
  b_offset: u32, b_stride: u32, b_model: u32,
  other_offset: u32, other_stride: u32, other_model: u32,
  out_offset: u32, out_stride: u32, out_model: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;
@group(0) @binding(2) var<storage, read> b: array<vec4f>;
@group(0) @binding(3) var<storage, read> other: array<vec4f>;
@group(0) @binding(4) var<storage, read> targets: array<u32>;
@group(0) @binding(5) var<storage, read> weights: array<f32>;
@group(0) @binding(6) var<storage, read> statistics: array<vec2f>;
@group(0) @binding(7) var<storage, read_write> out: array<vec4f>;

fn load_a(i: u32) -> vec4f { return a[i]; }
fn load_b(i: u32) -> vec4f { return b[i]; }
fn load_other(i: u32) -> vec4f { return other[i]; }

// While logits are added: [SIDE rows, vec4s of TERMS] of a, and from 256 on [TERMS, SIDE4] of b. Then [SIDE rows of out, SIDE4] of d.
var<workgroup> tile: array<vec4f, 1024>;

// Four neighbouring rows of a part of the tile that is `width` vec4s wide, at one of its columns.
fn four_rows(first: u32, width: u32, column: u32) -> mat4x4f {
  let i = first * width + column;
  return mat4x4f(tile[i], tile[i + width], tile[i + 2u * width], tile[i + 3u * width]);
}

// Of the invocation's four rows, each the vec4 of its columns. Rows and columns beyond the last hold anything finite.
fn logit_tile(model: u32, lane: u32, first_row: u32, first_column: u32) -> mat4x4f {
  let row = min(first_row + lane / 4u, params.rows - 1u);
  let column = min(first_column / 4u + lane % SIDE4, (params.vocab + 3u) / 4u - 1u);
  let a_row = params.a_offset + model * params.a_model + row * params.a_stride;
  let b_column = params.b_offset + model * params.b_model + column;
  var x = mat4x4f();
  for (var k = 0u; k < params.k; k += TERMS) {
    let term = k + lane % 4u * 4u;
    let inside = vec4u(term) + vec4u(0u, 1u, 2u, 3u) < vec4u(params.k);
    let own_a = select(vec4f(), load_a(a_row + min(term, params.k - 1u) / 4u), inside);
    let own_b = load_b(b_column + min(k + lane / SIDE4, params.k - 1u) * params.b_stride);
    workgroupBarrier(); // what was shared before has been read
    tile[lane] = own_a;
    tile[256u + lane] = own_b;
    workgroupBarrier();
    for (var t = 0u; t < TERMS / 4u; t++) {
      x += four_rows(SIDE4 + t * 4u, SIDE4, lane % SIDE4) * four_rows(lane / SIDE4 * 4u, 4u, t);
    }
  }
  return x;
}

// The gradient of a row's logits in the vec4 that begins at `column`.
fn logit_gradient(model: u32, row: u32, column: u32, x: vec4f) -> vec4f {
  let place = model * params.rows + min(row, params.rows - 1u);
  let weight = weights[place];
  let peak_sum = statistics[place];
  let ids = vec4u(column) + vec4u(0u, 1u, 2u, 3u);
  let hit = select(vec4f(), vec4f(weight), ids == vec4u(targets[place]));
  let d = fma(exp(x - peak_sum.x), vec4f(weight / peak_sum.y), -hit);
  return select(vec4f(), d, (ids < vec4u(params.vocab)) & vec4<bool>(row < params.rows && weight != 0.0));
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let over_rows = OVER_ROWS == 1u;
  let m = select(params.rows, params.vocab, over_rows);
  let terms = select(params.vocab, params.rows, over_rows);
  let first = (group.y * grid.x + group.x) * SIDE;
  if (first >= m) { return; } // the same for the whole workgroup
  let model = group.z;
  let down = lane / SIDE4;
  let across = lane % SIDE4;
  let other_base = params.other_offset + model * params.other_model;
  let out_base = params.out_offset + model * params.out_model + (first + down * 4u) * params.out_stride;
  for (var start = 0u; start < terms; start += SIDE) {
    let first_row = select(first, start, over_rows);
    let first_column = select(start, first, over_rows);
    var d = logit_tile(model, lane, first_row, first_column);
    for (var r = 0u; r < 4u; r++) {
      d[r] = logit_gradient(model, first_row + down * 4u + r, first_column + across * 4u, d[r]);
    }
    if (over_rows) { d = transpose(d); }
    let place = select(down * 4u * SIDE4 + across, across * 4u * SIDE4 + down, over_rows);
    workgroupBarrier(); // the terms of logits have been read
    for (var r = 0u; r < 4u; r++) { tile[place + r * SIDE4] = d[r]; }
    workgroupBarrier();
    for (var column = across; column < (params.k + 3u) / 4u; column += SIDE4) {
      var sums = mat4x4f();
      for (var t = 0u; t < SIDE4; t++) {
        var factors = mat4x4f(); // of terms beyond the last d is zero
        for (var i = 0u; i < 4u; i++) {
          factors[i] = load_other(other_base + min(start + t * 4u + i, terms - 1u) * params.other_stride + column);
        }
        sums += factors * four_rows(down * 4u, SIDE4, t);
      }
      for (var i = 0u; i < 4u && first + down * 4u + i < m; i++) {
        let index = out_base + i * params.out_stride + column;
        out[index] = select(vec4f(), out[index], start > 0u || ACCUMULATE == 1u) + sums[i];
      }
    }
  }
}
