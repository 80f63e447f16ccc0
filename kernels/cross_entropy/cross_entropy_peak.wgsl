// cross_entropy_peak: the largest logit of a row, for the texts with one invocation per row.
//
// params and logits are those of the text that includes this.

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
