// linear_nll_bindings: what all variants of linear_nll bind; the tables in their headers describe it.

struct Params {
  rows: u32, vocab: u32, k: u32, group_rows: u32, target_model: u32,
  a_offset: u32, a_stride: u32, a_model: u32,
  b_offset: u32, b_stride: u32, b_model: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;
@group(0) @binding(2) var<storage, read> b: array<vec4f>;
@group(0) @binding(3) var<storage, read> targets: array<u32>;
@group(0) @binding(4) var<storage, read> weights: array<f32>;
@group(0) @binding(5) var<storage, read_write> nll: array<f32>;
// include more_bindings

fn load_a(i: u32) -> vec4f { return a[i]; }
fn load_b(i: u32) -> vec4f { return b[i]; }

const LOWEST: f32 = -3.0e38; // finite: compilers may assume that there are no infinities
const NONE: u32 = 0xffffffffu;

// The ids of vec4 `column`, and the lowest of those whose logit is `peak`.
fn ids(column: u32) -> vec4u { return vec4u(column * 4u) + vec4u(0u, 1u, 2u, 3u); }
fn first_of(x: vec4f, peak: f32, ids: vec4u) -> u32 {
  let found = select(vec4u(NONE), ids, (x == vec4f(peak)) & (ids < vec4u(params.vocab)));
  return min(min(found.x, found.y), min(found.z, found.w));
}

// Writes what a row came to: `id` is that of its peak.
fn finish(out: u32, weight: f32, peak: f32, total: f32, score: f32, id: u32) {
  let level = log(total);
  nll[out] = select(level - (score - peak), 0.0, weight == 0.0);
  // include finish_more
}
