// attention_forward_subgroup: causal attention past panels of keys and values. For software adapters with subgroups of 8 lanes.
//
//   q        [models, batch, heads, length, HEAD4]  vec4  read        scaled and rotated
//   k v      [models, batch, heads / SHARE, length, HEAD4]  vec4  read  k rotated; SHARE heads of q share a head
//   out      [models, batch, length, stride / 2]    vec2  write       head by head; padding columns become zero
//   lse      [models, batch, heads, length]         f32   write       log of the softmax's denominator
//   running  [models, batch, heads, length, 8]      vec2  read/write  peak and sum of a query between blocks, a copy per lane
//   sums     [models, batch, heads, length, HEAD4]  vec4  read/write  its output between blocks
//
// out[i] = sum_{j <= i} softmax_j(q[i] · k[j]) v[j]
//
// A workgroup is one subgroup and one head of one sequence. It walks the keys in blocks whose panels lie in private arrays
// (matmul_subgroup.wgsl tells why) and streams the block's queries by: a lane is a key while scores are taken, and a vec4 of
// the head's columns while values are summed. Scores never leave the registers. Sums over lanes go by broadcasts in a fixed
// order and each lane reads back what it wrote itself, so there are no barriers and equal inputs give equal bits. The loops
// that must be unrolled are fragments: attention_subgroup.ts writes them. Reference: attentionForwardReference in attention.ts.

const HEAD4: u32 = 4u; // vec4s of a head
const BLOCK: u32 = 64u; // keys
const KEYS: u32 = 8u; // of a block per lane
const SHARE: u32 = 1u;

struct Params { queries: u32, length: u32, heads: u32, head_size: u32, stride: u32, capacity: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<vec4f>;
@group(0) @binding(2) var<storage, read> k: array<vec4f>;
@group(0) @binding(3) var<storage, read> v: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> out: array<vec2f>;
@group(0) @binding(5) var<storage, read_write> lse: array<f32>;
@group(0) @binding(6) var<storage, read_write> running: array<vec2f>;
@group(0) @binding(7) var<storage, read_write> sums: array<vec4f>;

fn load_q(i: u32) -> vec4f { return q[i]; }
fn load_k(i: u32) -> vec4f { return k[i]; }
fn load_v(i: u32) -> vec4f { return v[i]; }
fn store_out(i: u32, value: vec2f) { out[i] = value; }

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let local = group.y * grid.x + group.x;
  if (local * params.length >= params.queries) { return; }
  let index = group.z * (params.queries / params.length) + local; // of this head among all
  let head = index % params.heads;
  let base = index * params.length;
  let key_base = index / SHARE * params.length;
  // How many keys and vec4s a lane has: with literals as their bounds, the driver would unroll loops.
  let keys = (min(BLOCK, params.length) + 7u) / 8u;
  let vec4s = (params.head_size + 3u) / 4u;
  let out_base = (index / params.heads) * params.length * params.stride + head * params.head_size;
  // include panel_arrays
  for (var first = 0u; first < params.length; first += BLOCK) {
    for (var c = 0u; c < keys; c++) {
      let key = min(first + 8u * c + lane, params.length - 1u);
      for (var i = 0u; i < vec4s; i++) {
        let x = load_k((key_base + key) * HEAD4 + i);
        // include fill_keys
      }
    }
    for (var c = 0u; c < min(BLOCK, params.length + 7u); c++) {
      let key = min(first + c, params.length - 1u);
      // include fill_values
    }
    for (var query = first; query < params.length; query++) {
      // include load_query
      // include score_keys
      // include mask_scores
      // include peak_over_lanes
      var total = 0.0;
      if (first > 0u) {
        let before = running[(base + query) * 8u + lane];
        peak = max(peak, before.x);
        let shrink = exp(before.x - peak);
        total = before.y * shrink;
        // include resume_output
      }
      // include weigh_keys
      // include total_over_lanes
      // include add_values
      if (first + BLOCK > query) {
        let scale = 1.0 / total;
        if (lane == 0u) { lse[base + query] = peak + log(total); }
        let row = out_base + query * params.stride;
        // include store_output
        if (head == params.heads - 1u) {
          for (var c = params.head_size + 2u * lane; head * params.head_size + c < params.stride; c += 16u) { store_out((row + c) / 2u, vec2f()); }
        }
      } else {
        running[(base + query) * 8u + lane] = vec2f(peak, total);
        // include suspend_output
      }
    }
  }
}
