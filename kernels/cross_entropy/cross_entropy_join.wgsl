// cross_entropy_join: the largest logit of a row and the sum below it, for the texts with one workgroup per row.
//
// The tree that joins what the lanes keep has a fixed order: equal bits. WG, params and logits are those of the text that
// includes this.

const LOWEST: f32 = -3.0e38; // finite: compilers may assume that there are no infinities

var<workgroup> scratch: array<vec2f, WG>; // peak, and the sum of exp(x - peak)

fn join(a: vec2f, b: vec2f) -> vec2f {
  let peak = max(a.x, b.x);
  return vec2f(peak, a.y * exp(a.x - peak) + b.y * exp(b.x - peak));
}

// Returns peak and sum of the row at `base` to every lane.
fn join_row(lane: u32, base: u32) -> vec2f {
  var peaks = vec4f(LOWEST);
  var sums = vec4f();
  for (var i = lane; i < params.stride4; i += WG) {
    let real = vec4u(i * 4u) + vec4u(0u, 1u, 2u, 3u) < vec4u(params.vocab);
    let x = select(vec4f(LOWEST), logits[base + i], real);
    let higher = max(peaks, x);
    sums = sums * exp(peaks - higher) + select(vec4f(), exp(x - higher), real);
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
