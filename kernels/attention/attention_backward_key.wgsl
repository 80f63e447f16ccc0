// attention_backward_key: the gradients of attention's keys and values.
//
//   q        [models, batch, heads, length, HEAD4]  vec4  read
//   k v      [models, batch, heads / SHARE, length, HEAD4]  vec4  read   SHARE heads of q share a head
//   d_heads  [models, batch, heads, length, HEAD4]  vec4  read   from attention_backward_heads
//   lse      [models, batch, heads, length]         f32   read   from attention_forward
//   product  [models, batch, heads, length]         f32   read   from attention_backward_heads
//   d_k d_v  [models, batch, heads, length, HEAD4]  vec4  write  of each head of q: rotary_backward adds those that share
//
// d_v[j] = sum_{i >= j} p_ij d_heads[i]
// d_k[j] = sum_{i >= j} p_ij (d_heads[i] · v[j] - product[i]) q[i],  p_ij = exp(q[i] · k[j] - lse[i])
//
// One invocation per key, queries in ascending order. Reference: attentionBackwardReference in attention.ts.

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
@group(0) @binding(7) var<storage, read_write> d_k: array<vec4f>;
@group(0) @binding(8) var<storage, read_write> d_v: array<vec4f>;

fn load_q(i: u32) -> vec4f { return q[i]; }
fn load_k(i: u32) -> vec4f { return k[i]; }
fn load_v(i: u32) -> vec4f { return v[i]; }

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let local = (group.y * grid.x + group.x) * WG + lane;
  if (local >= params.queries) { return; }
  let key = group.z * params.queries + local;
  let position = key % params.length;
  let key_row = key / params.length / SHARE * params.length + position;

  var mine: array<vec4f, HEAD4>;
  var value: array<vec4f, HEAD4>;
  var key_sum: array<vec4f, HEAD4>;
  var value_sum: array<vec4f, HEAD4>;
  for (var i = 0u; i < HEAD4; i++) {
    mine[i] = load_k(key_row * HEAD4 + i);
    value[i] = load_v(key_row * HEAD4 + i);
    key_sum[i] = vec4f();
    value_sum[i] = vec4f();
  }
  let end = key - position + params.length;
  for (var query = key; query < end; query++) {
    let at = query * HEAD4;
    var score = 0.0;
    var gain = 0.0;
    for (var i = 0u; i < HEAD4; i++) {
      score += dot(mine[i], load_q(at + i));
      gain += dot(value[i], d_heads[at + i]);
    }
    let weight = exp(score - lse[query]);
    let slope = weight * (gain - product[query]);
    for (var i = 0u; i < HEAD4; i++) {
      value_sum[i] += weight * d_heads[at + i];
      key_sum[i] += slope * load_q(at + i);
    }
  }
  for (var i = 0u; i < HEAD4; i++) {
    d_k[key * HEAD4 + i] = key_sum[i];
    d_v[key * HEAD4 + i] = value_sum[i];
  }
}
