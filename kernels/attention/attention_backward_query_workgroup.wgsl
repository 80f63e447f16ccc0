// attention_backward_query_workgroup: the gradient of attention's queries, block by block. For GPUs.
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
// One workgroup of 64 per block of ROWS queries of a head, blocks of 32 keys up to its own in ascending order, tiles as in
// attention_forward_workgroup: equal bits, whatever ROWS. Where heads are whole vec4s the host binds d_out and out, in
// attention's own layout, and product to be written: the fragments `gradient` and `products` do then what
// attention_backward_heads does. Reference: attentionBackwardReference in attention.ts.

const HEAD4: u32 = 4u;
const ROWS: u32 = 64u; // 32 or 64
const SHARE: u32 = 1u;

struct Params { sequence_heads: u32, length: u32, heads: u32, head_size: u32, stride: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<vec4f>;
@group(0) @binding(2) var<storage, read> k: array<vec4f>;
@group(0) @binding(3) var<storage, read> v: array<vec4f>;
// include gradient
@group(0) @binding(5) var<storage, read> lse: array<f32>;
// include products

// include attention_backward_load
// include attention_tiles

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let index = group.y * grid.x + group.x;
  let blocks = (params.length + ROWS - 1u) / ROWS;
  if (index >= params.sequence_heads * blocks) { return; }
  let base = (group.z * params.sequence_heads + index / blocks) * params.length;
  let first = (blocks - 1u - index % blocks) * ROWS; // the longest walks start first
  let row = lane / 8u;
  let column = lane % 8u * 4u;

  take_products(lane, base, first);
  // include rows
  for (var keys = 0u; keys < min(first + ROWS, params.length); keys += 32u) {
    var scores = multiply_rows(lane, Q, K, base, first, keys);
    var gains = multiply_rows(lane, D_HEADS, V, base, first, keys);
    let key = vec4u(keys + column) + vec4u(0u, 1u, 2u, 3u);
    // include weigh_keys
    // include add_keys
  }
  // include store_rows
}
