// attention_backward_subgroup: the gradients of attention's queries, keys and values. For software adapters with subgroups of 8 lanes.
//
//   q            [models, batch, heads, length, HEAD4]  vec4  read
//   k v          [models, batch, heads / SHARE, length, HEAD4]  vec4  read   SHARE heads of q share a head
//   d_heads      [models, batch, heads, length, HEAD4]  vec4  read        from attention_backward_heads
//   lse          [models, batch, heads, length]         f32   read        from attention_forward
//   product      [models, batch, heads, length]         f32   read        from attention_backward_heads
//   d_q d_k d_v  [models, batch, heads, length, HEAD4]  vec4  write  d_k, d_v of each head of q: rotary_backward adds those that share
//
// d_v[j] = sum_{i >= j} p_ij d_heads[i],  p_ij = exp(q[i] · k[j] - lse[i])
// d_q[i] = sum_{j <= i} slope_ij k[j],  d_k[j] = sum_{i >= j} slope_ij q[i],  slope_ij = p_ij (d_heads[i] · v[j] - product[i])
//
// All three in one pass over the blocks of keys, which is laid out as attention_forward_subgroup. Where heads are whole vec4s the
// host may bind d_out and out, in attention's own layout, instead of d_heads and product: the fragments `inputs`, `load_rows` and
// `mean_of_row` do then what attention_backward_heads does. The loops that must be unrolled are fragments: attention_subgroup.ts
// writes them. Fixed orders: equal bits. Reference: attentionBackwardReference in attention.ts.

const HEAD4: u32 = 4u; // vec4s of a head
const BLOCK: u32 = 32u; // keys
const KEYS: u32 = 4u; // of a block per lane
const SHARE: u32 = 1u;

struct Params { queries: u32, length: u32, heads: u32, head_size: u32, stride: u32, capacity: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<vec4f>;
@group(0) @binding(2) var<storage, read> k: array<vec4f>;
@group(0) @binding(3) var<storage, read> v: array<vec4f>;
// include inputs
@group(0) @binding(7) var<storage, read_write> d_q: array<vec4f>;
@group(0) @binding(8) var<storage, read_write> d_k: array<vec4f>;
@group(0) @binding(9) var<storage, read_write> d_v: array<vec4f>;

fn load_q(i: u32) -> vec4f { return q[i]; }
fn load_k(i: u32) -> vec4f { return k[i]; }
fn load_v(i: u32) -> vec4f { return v[i]; }

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let local = group.y * grid.x + group.x;
  if (local * params.length >= params.queries) { return; }
  let index = group.z * (params.queries / params.length) + local; // of this head among all
  let base = index * params.length;
  let key_base = index / SHARE * params.length;
  // How many keys and vec4s a lane has: with literals as their bounds, the driver would unroll loops.
  let keys = (min(BLOCK, params.length) + 7u) / 8u;
  let vec4s = (params.head_size + 3u) / 4u;
  // include place_of_head
  // include panel_arrays
  for (var first = 0u; first < params.length; first += BLOCK) {
    for (var c = 0u; c < keys; c++) {
      let key = min(first + 8u * c + lane, params.length - 1u);
      for (var i = 0u; i < vec4s; i++) {
        let x = load_k((key_base + key) * HEAD4 + i);
        let y = load_v((key_base + key) * HEAD4 + i);
        // include fill_keys_and_values
      }
    }
    for (var c = 0u; c < min(BLOCK, params.length + 7u); c++) {
      let key = min(first + c, params.length - 1u);
      // include fill_key_rows
    }
    for (var i = 0u; i < keys * vec4s; i++) {
      // include clear_sums
    }
    for (var query = first; query < params.length; query++) {
      // include load_rows
      let shift = lse[base + query];
      // include mean_of_row
      // include score_keys
      // include weigh_keys
      // include add_to_keys_and_values
      // include resume_query
      // include add_to_query
      // include store_query
    }
    for (var c = 0u; c < keys; c++) {
      let key = first + 8u * c + lane;
      // include store_keys_and_values
    }
  }
}
