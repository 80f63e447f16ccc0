// attention_backward_query: the gradient of attention's queries.
//
//   q        [models, batch, heads, length, HEAD4]  vec4  read
//   k v      [models, batch, heads / SHARE, length, HEAD4]  vec4  read   SHARE heads of q share a head
//   d_heads  [models, batch, heads, length, HEAD4]  vec4  read   from attention_backward_heads
//   lse      [models, batch, heads, length]         f32   read   from attention_forward
//   product  [models, batch, heads, length]         f32   read   from attention_backward_heads
//   d_q      [models, batch, heads, length, HEAD4]  vec4  write
//
// d_q[i] = sum_{j <= i} p_ij (d_heads[i] · v[j] - product[i]) k[j],  p_ij = exp(q[i] · k[j] - lse[i])
//
// One invocation per query, keys in ascending order. Reference: attentionBackwardReference in attention.ts.

override WG: u32 = 16u;
const HEAD4: u32 = 4u;
const SHARE: u32 = 1u;

struct Params { queries: u32, length: u32, heads: u32, head_size: u32, stride: u32, capacity: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<vec4f>;
@group(0) @binding(2) var<storage, read> k: array<vec4f>;
@group(0) @binding(3) var<storage, read> v: array<vec4f>;
@group(0) @binding(4) var<storage, read> d_heads: array<vec4f>;
@group(0) @binding(5) var<storage, read> lse: array<f32>;
@group(0) @binding(6) var<storage, read> product: array<f32>;
@group(0) @binding(7) var<storage, read_write> d_q: array<vec4f>;

fn load_q(i: u32) -> vec4f { return q[i]; }
fn load_k(i: u32) -> vec4f { return k[i]; }
fn load_v(i: u32) -> vec4f { return v[i]; }

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let local = (group.y * grid.x + group.x) * WG + lane;
  if (local >= params.queries) { return; }
  let query = group.z * params.queries + local;
  let position = query % params.length;
  var key = query / params.length / SHARE * params.length * HEAD4;

  var mine: array<vec4f, HEAD4>;
  var slope: array<vec4f, HEAD4>;
  var sum: array<vec4f, HEAD4>;
  for (var i = 0u; i < HEAD4; i++) {
    mine[i] = load_q(query * HEAD4 + i);
    slope[i] = d_heads[query * HEAD4 + i];
    sum[i] = vec4f();
  }
  let shift = lse[query];
  let mean = product[query];
  for (var j = 0u; j <= position; j++) {
    var score = 0.0;
    var gain = 0.0;
    for (var i = 0u; i < HEAD4; i++) {
      score += dot(mine[i], load_k(key + i));
      gain += dot(slope[i], load_v(key + i));
    }
    let weight = exp(score - shift) * (gain - mean);
    for (var i = 0u; i < HEAD4; i++) { sum[i] += weight * load_k(key + i); }
    key += HEAD4;
  }
  for (var i = 0u; i < HEAD4; i++) { d_q[query * HEAD4 + i] = sum[i]; }
}
