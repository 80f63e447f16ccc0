// linear_nll_workgroup: loss of a linear layer's outputs that are never stored. For GPUs.
//
//   a          [models, rows, a_stride]  vec4  read   strides and offsets count vec4s; padding columns may hold anything finite
//   b          [models, k, b_stride]     vec4  read   columns from vocab on are padding
//   targets    [models | 1, rows]        u32   read   each < vocab; target_model is 0 where all models share them
//   weights    [models | 1, rows]        f32   read   0 masks the row
//   nll        [models, rows]            f32   write  nats; 0 where masked
//   likeliest  [models, rows]            f32   write  with details: id of the largest logit, the lowest of equals; 0 where masked
//   least      [models, rows]            f32   write  with details: its negative log-likelihood, nats; 0 where masked
//
// nll[r] = log(sum_v exp(x[r, v])) - x[r, targets[r]] with x = a · b
//
// A workgroup takes 64 rows and goes through the vocabulary in tiles of 128 columns, whose terms pass through workgroup memory 16
// at a time. Each of 16 by 16 invocations keeps peak and sum of four rows in its own 8 columns of every tile; neighbours on
// neighbouring vec4s. At the end those of a row are joined in ascending order: equal bits, whatever other rows there are.
// Reference: linearNllReference in linear_nll.ts.

const ROWS: u32 = 64u;
const SPAN: u32 = 32u; // vec4s of columns
const PANEL: u32 = 16u; // terms

// include linear_nll_bindings

var<workgroup> a_tile: array<f32, 1024>; // [PANEL, ROWS]
var<workgroup> b_tile: array<vec4f, 512>; // [PANEL, SPAN]
var<workgroup> shared_values: array<f32, 1024>; // [ROWS, 16]

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let first = (group.y * grid.x + group.x) * ROWS;
  if (first >= params.rows) { return; } // the same for the whole workgroup
  let model = group.z;
  let source = model * params.target_model;
  let n4 = (params.vocab + 3u) / 4u;
  let across = lane % 16u;
  let own_row = lane / 16u * 4u;
  let a_base = params.a_offset + model * params.a_model;
  let b_base = params.b_offset + model * params.b_model;
  var labels = vec4u();
  for (var r = 0u; r < 4u; r++) { labels[r] = targets[source + min(first + own_row + r, params.rows - 1u)]; }
  var peaks = vec4f(LOWEST);
  var totals = vec4f();
  var scores = vec4f();
  var best = vec4u(NONE);
  for (var start = 0u; start < n4; start += SPAN) {
    var left: array<vec4f, 4>; // sums of the four rows in the first vec4, and in the second
    var right: array<vec4f, 4>;
    for (var r = 0u; r < 4u; r++) {
      left[r] = vec4f();
      right[r] = vec4f();
    }
    for (var k = 0u; k < params.k; k += PANEL) {
      // A vec4 of four terms of a row each; rows and terms beyond the last are zero.
      let row = lane / 4u;
      let term = lane % 4u * 4u;
      let inside = vec4u(k + term) + vec4u(0u, 1u, 2u, 3u) < vec4u(params.k);
      let a_row = a_base + min(first + row, params.rows - 1u) * params.a_stride;
      let value = select(vec4f(), load_a(a_row + min(k + term, params.k - 1u) / 4u), inside);
      for (var t = 0u; t < 4u; t++) { a_tile[(term + t) * ROWS + row] = value[t]; }
      for (var half = 0u; half < 2u; half++) {
        let t = lane / SPAN + 8u * half;
        let column = min(start + lane % SPAN, n4 - 1u);
        b_tile[t * SPAN + lane % SPAN] = load_b(b_base + min(k + t, params.k - 1u) * params.b_stride + column);
      }
      workgroupBarrier();
      for (var t = 0u; t < PANEL; t++) {
        let b_left = b_tile[t * SPAN + across];
        let b_right = b_tile[t * SPAN + 16u + across];
        for (var r = 0u; r < 4u; r++) {
          let factor = a_tile[t * ROWS + own_row + r];
          left[r] = fma(vec4f(factor), b_left, left[r]);
          right[r] = fma(vec4f(factor), b_right, right[r]);
        }
      }
      workgroupBarrier();
    }
    let ids_left = ids(start + across);
    let ids_right = ids(start + 16u + across);
    for (var r = 0u; r < 4u; r++) {
      let x = select(vec4f(LOWEST), left[r], ids_left < vec4u(params.vocab));
      let y = select(vec4f(LOWEST), right[r], ids_right < vec4u(params.vocab));
      let higher = max(x, y);
      let peak = max(peaks[r], max(max(higher.x, higher.y), max(higher.z, higher.w)));
      if (peak > peaks[r]) { best[r] = min(first_of(x, peak, ids_left), first_of(y, peak, ids_right)); }
      let e = select(vec4f(), exp(x - peak), ids_left < vec4u(params.vocab)) +
        select(vec4f(), exp(y - peak), ids_right < vec4u(params.vocab));
      totals[r] = fma(totals[r], exp(peaks[r] - peak), dot(e, vec4f(1.0)));
      peaks[r] = peak;
      let label = vec4u(labels[r]);
      scores[r] += dot(select(vec4f(), x, ids_left == label) + select(vec4f(), y, ids_right == label), vec4f(1.0));
    }
  }
  let row_peaks = joined_peaks(across, own_row, peaks);
  let row_totals = joined_sums(across, own_row, totals * exp(peaks - row_peaks));
  let row_scores = joined_sums(across, own_row, scores);
  let found = -joined_peaks(across, own_row, -vec4f(select(vec4u(NONE), best, peaks == row_peaks))); // the lowest id
  if (across != 0u) { return; }
  for (var r = 0u; r < 4u && first + own_row + r < params.rows; r++) {
    let row = first + own_row + r;
    let out = model * params.rows + row;
    finish(out, weights[source + row], row_peaks[r], row_totals[r], row_scores[r], u32(found[r]));
  }
}

// Shares a value of each of four rows with the invocations of the same rows.
fn share(across: u32, own_row: u32, values: vec4f) {
  workgroupBarrier();
  for (var r = 0u; r < 4u; r++) { shared_values[(own_row + r) * 16u + across] = values[r]; }
  workgroupBarrier();
}

fn joined_peaks(across: u32, own_row: u32, values: vec4f) -> vec4f {
  share(across, own_row, values);
  var peaks = vec4f(LOWEST);
  for (var i = 0u; i < 16u; i++) {
    for (var r = 0u; r < 4u; r++) { peaks[r] = max(peaks[r], shared_values[(own_row + r) * 16u + i]); }
  }
  return peaks;
}

fn joined_sums(across: u32, own_row: u32, values: vec4f) -> vec4f {
  share(across, own_row, values);
  var sums = vec4f();
  for (var i = 0u; i < 16u; i++) {
    for (var r = 0u; r < 4u; r++) { sums[r] += shared_values[(own_row + r) * 16u + i]; }
  }
  return sums;
}
