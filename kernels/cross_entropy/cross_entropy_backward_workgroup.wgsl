// cross_entropy_backward_workgroup: the same loss, and the gradient of the weighted loss in the place of the logits. For GPUs.
//
//   targets  [models, rows]            u32   read        each < vocab
//   weights  [models, rows]            f32   read        weight of the row in the loss; 0 masks it
//   logits   [models, chunk, stride4]  vec4  read/write  become the gradient; padding columns become zero
//   nll      [models, rows]            f32   write       nats; 0 where masked; rows first..first + chunk
//
// d_logits[r, v] = weights[r] * (softmax_v(logits[r]) - [v = targets[r]])
//
// One workgroup per row, neighbours on neighbouring vec4s: each lane keeps the peak so far and the sum below it. The tree that
// joins them has a fixed order, and logits are read twice and written once, by the same lane: equal bits.
// Reference: crossEntropyReference in cross_entropy.ts.

override WG: u32 = 256u; // a power of two

// include cross_entropy_backward_bindings

const LOWEST: f32 = -3.0e38; // finite: compilers may assume that there are no infinities

var<workgroup> scratch: array<vec2f, WG>; // peak, and the sum of exp(x - peak)

fn join(a: vec2f, b: vec2f) -> vec2f {
  let peak = max(a.x, b.x);
  return vec2f(peak, fma(a.y, exp(a.x - peak), b.y * exp(b.x - peak)));
}

// Returns peak and sum of the row at `base` to every lane.
fn join_row(lane: u32, base: u32) -> vec2f {
  var peaks = vec4f(LOWEST);
  var sums = vec4f();
  for (var i = lane; i < params.stride4; i += WG) {
    let real = vec4u(i * 4u) + vec4u(0u, 1u, 2u, 3u) < vec4u(params.vocab);
    let x = select(vec4f(LOWEST), logits[base + i], real);
    let higher = max(peaks, x);
    sums = fma(sums, exp(peaks - higher), select(vec4f(), exp(x - higher), real));
    peaks = higher;
  }
  scratch[lane] = join(
    join(vec2f(peaks.x, sums.x), vec2f(peaks.y, sums.y)),
    join(vec2f(peaks.z, sums.z), vec2f(peaks.w, sums.w)),
  );
  workgroupBarrier();
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    if (lane < half) { scratch[lane] = join(scratch[lane], scratch[lane + half]); }
    workgroupBarrier();
  }
  return scratch[0];
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let local = group.y * grid.x + group.x;
  if (local >= params.chunk) { return; }
  let row = group.z * params.rows + params.first + local;
  let base = (group.z * params.chunk + local) * params.stride4;
  let weight = weights[row];
  if (weight == 0.0) { // the same for the whole workgroup
    if (lane == 0u) { nll[row] = 0.0; }
    for (var i = lane; i < params.stride4; i += WG) { logits[base + i] = vec4f(); }
    return;
  }
  let joined = join_row(lane, base);
  let scale = weight / joined.y;
  let label = targets[row];
  for (var i = lane; i < params.stride4; i += WG) {
    let places = vec4u(i * 4u) + vec4u(0u, 1u, 2u, 3u);
    let x = logits[base + i] - joined.x;
    let d = fma(exp(x), vec4f(scale), -select(vec4f(), vec4f(weight), places == vec4u(label)));
    logits[base + i] = select(vec4f(), d, places < vec4u(params.vocab));
    if (i == label / 4u) { nll[row] = log(joined.y) - x[label % 4u]; }
  }
}
