// cross_entropy_backward: the same loss, and the gradient of the weighted loss in the place of the logits.
//
//   logits   [models, chunk, stride4]  vec4  read/write  become the gradient; padding columns become zero
//   targets  [models, rows]            u32   read        each < vocab
//   weights  [models, rows]            f32   read        weight of the row in the loss; 0 masks it
//   nll      [models, rows]            f32   write       nats; 0 where masked; rows first..first + chunk
//
// d_logits[r, v] = weights[r] * (softmax_v(logits[r]) - [v = targets[r]])
//
// One invocation per row, vec4s in ascending order: equal bits. Reference: crossEntropyReference in cross_entropy.ts.

override WG: u32 = 16u;

// include cross_entropy_backward_bindings

const LOWEST: f32 = -3.0e38; // finite: compilers may assume that there are no infinities

// The ids of vec4 i, and which of them are no padding.
fn ids(i: u32) -> vec4u { return vec4u(i * 4u) + vec4u(0u, 1u, 2u, 3u); }
fn real(i: u32) -> vec4<bool> { return ids(i) < vec4u(params.vocab); }

// Of the first `used` vec4s from `base` on.
fn peak_of(base: u32, used: u32) -> f32 {
  var peaks = vec4f(LOWEST);
  for (var i = 0u; i < used; i++) { peaks = max(peaks, select(vec4f(LOWEST), logits[base + i], real(i))); }
  return max(max(peaks.x, peaks.y), max(peaks.z, peaks.w));
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let local = (group.y * grid.x + group.x) * WG + lane;
  if (local >= params.chunk) { return; }
  let row = group.z * params.rows + params.first + local;
  let base = (group.z * params.chunk + local) * params.stride4;
  let weight = weights[row];
  let label = targets[row];
  let used = select(params.stride4, 0u, weight == 0.0); // nothing is read of a masked row
  let peak = peak_of(base, used);
  var score = 0.0;
  var sums = vec4f();
  for (var i = 0u; i < used; i++) {
    let x = logits[base + i] - peak;
    if (i == label / 4u) { score = x[label % 4u]; }
    let e = select(vec4f(), exp(x), real(i));
    sums += e;
    logits[base + i] = e;
  }
  let total = sums.x + sums.y + sums.z + sums.w;
  nll[row] = select(log(total) - score, 0.0, weight == 0.0);
  let scale = weight / total;
  for (var i = 0u; i < params.stride4; i++) {
    var d = vec4f();
    if (i < used) {
      d = fma(logits[base + i], vec4f(scale), -select(vec4f(), vec4f(weight), ids(i) == vec4u(label)));
    }
    logits[base + i] = d;
  }
}
