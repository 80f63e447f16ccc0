// attention_backward_key_workgroup: the gradients of attention's keys and values, block by block. For GPUs.
//
//   q        [models, batch, heads, length, HEAD4]  vec4  read
//   k v      [models, batch, heads / SHARE, length, HEAD4]  vec4  read   SHARE heads of q share a head
//   d_heads  [models, batch, heads, length, HEAD4]  vec4  read   from attention_backward_heads
//   lse      [models, batch, heads, length]         f32   read   from attention_forward
//   product  [models, batch, heads, length]         f32   read   from attention_backward_heads, or from the pass of queries
//   d_k d_v  [models, batch, heads, length, HEAD4]  vec4  write  of each head of q: rotary_backward adds those that share
//
// d_v[j] = sum_{i >= j} p_ij d_heads[i]
// d_k[j] = sum_{i >= j} p_ij (d_heads[i] · v[j] - product[i]) q[i],  p_ij = exp(q[i] · k[j] - lse[i])
//
// One workgroup of 64 per block of ROWS keys of a head, blocks of 32 queries from its own on in ascending order, tiles as in
// attention_forward_workgroup with keys as rows: equal bits, whatever ROWS. Where heads are whole vec4s the host binds d_out, in
// attention's own layout, instead of d_heads (the fragment `gradient`). Reference: attentionBackwardReference in attention.ts.

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
@group(0) @binding(6) var<storage, read> product: array<f32>;
@group(0) @binding(7) var<storage, read_write> d_k: array<vec4f>;
@group(0) @binding(8) var<storage, read_write> d_v: array<vec4f>;

// include attention_backward_load
// include attention_tiles

// Four values of a tensor with one per query.
fn shifts_of(queries: vec4u) -> vec4f { return vec4f(lse[queries.x], lse[queries.y], lse[queries.z], lse[queries.w]); }
fn means_of(queries: vec4u) -> vec4f {
  return vec4f(product[queries.x], product[queries.y], product[queries.z], product[queries.w]);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let index = group.y * grid.x + group.x;
  let blocks = (params.length + ROWS - 1u) / ROWS;
  if (index >= params.sequence_heads * blocks) { return; }
  let base = (group.z * params.sequence_heads + index / blocks) * params.length;
  let first = (index % blocks) * ROWS; // the longest walks start first
  let row = lane / 8u;
  let column = lane % 8u * 4u;

  // include sums
  for (var queries = first; queries < params.length; queries += 32u) {
    var scores = multiply_rows(lane, K, Q, base, first, queries);
    var gains = multiply_rows(lane, V, D_HEADS, base, first, queries);
    let query = vec4u(queries + column) + vec4u(0u, 1u, 2u, 3u);
    let own = vec4u(base) + min(query, vec4u(params.length - 1u));
    let shift = shifts_of(own);
    let mean = means_of(own);
    // include weigh_queries
    // include add_values
    // include add_keys
  }
  // include store_rows
}
