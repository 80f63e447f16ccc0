// linear_nll_subgroup: loss of a linear layer's outputs that are never stored. For software adapters with subgroups of 8 lanes.
//
//   a          [models, rows, a_stride]  vec4  read   strides and offsets count vec4s; padding columns may hold anything finite
//   b          [models, k, b_stride]     vec4  read   columns from vocab on are padding
//   targets    [models | 1, rows]        u32   read   each < vocab; target_model is 0 where all models share them
//   weights    [models | 1, rows]        f32   read   0 masks the row, which is then not computed
//   nll        [models, rows]            f32   write  nats; 0 where masked
//   likeliest  [models, rows]            f32   write  with details: id of the largest logit, the lowest of equals; 0 where masked
//   least      [models, rows]            f32   write  with details: its negative log-likelihood, nats; 0 where masked
//
// nll[r] = log(sum_v exp(x[r, v])) - x[r, targets[r]] with x = a · b
//
// A workgroup is one subgroup. It goes through the vocabulary in panels: PANEL terms by 4 · SPAN columns of B are copied into
// private arrays, which the driver keeps on the stack, and group_rows rows stream by. Each lane keeps the peak of its own logits
// so far and the sum below it; the lanes' are joined in ascending order at the end. Where there are more terms than a panel has,
// partial sums of the rows wait in private arrays. Panels depend on vocabulary and terms alone: equal bits, whatever other rows
// there are. The loops that must be unrolled are fragments: linear_nll_subgroup.ts writes them. Reference: linearNllReference in
// linear_nll.ts.

const SPAN: u32 = 24u; // vec4s of columns of a panel: 8 lanes by its width
const PANEL: u32 = 96u; // terms of a panel
const BLOCK: u32 = 32u; // terms that are added without asking whether there are any
const MOST_ROWS: u32 = 256u; // of a workgroup

// include linear_nll_bindings

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let first = (group.y * grid.x + group.x) * params.group_rows;
  if (first >= params.rows) { return; }
  let count = min(params.group_rows, params.rows - first);
  let model = group.z;
  let n4 = (params.vocab + 3u) / 4u;
  let a_base = params.a_offset + model * params.a_model + first * params.a_stride;
  let b_base = params.b_offset + model * params.b_model;
  let source = model * params.target_model + first;
  // include private_arrays
  var peaks: array<f32, MOST_ROWS>;
  var totals: array<f32, MOST_ROWS>;
  var scores: array<f32, MOST_ROWS>;
  var best: array<u32, MOST_ROWS>;
  for (var row = 0u; row < count; row++) {
    peaks[row] = LOWEST;
    totals[row] = 0.0;
    scores[row] = 0.0;
    best[row] = NONE;
  }
  for (var start = 0u; start < n4; start += SPAN) {
    let column = start + lane; // the lane's first vec4
    // include ids
    for (var first_term = 0u; first_term < params.k; first_term += PANEL) {
      for (var k = 0u; k < min(PANEL, (params.k - first_term + (BLOCK - 1u)) / BLOCK * BLOCK); k++) {
        let term = b_base + min(first_term + k, params.k - 1u) * params.b_stride;
        // include fill_panel
      }
      for (var row = 0u; row < count; row++) {
        if (weights[source + row] == 0.0) { continue; } // the same for the whole subgroup
        let a_row = a_base + row * params.a_stride;
        // include start_sums
        // include add_terms
        // include keep_sums
        // include mask_sums
        let before = peaks[row];
        let peak = max(before, highest);
        // include exponentials
        totals[row] = totals[row] * exp(before - peak) + dot(exponentials, vec4f(1.0));
        peaks[row] = peak;
        // include take_best
        let label = targets[source + row];
        if (label / 4u - start < SPAN) { // below start it wraps around
          // include take_score
        }
      }
    }
  }
  for (var row = 0u; row < count; row++) {
    // include join_lanes
    if (lane == 0u) { finish(model * params.rows + first + row, weights[source + row], peak, total, score, id); }
  }
}
