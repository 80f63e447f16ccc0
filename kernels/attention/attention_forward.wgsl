// attention_forward: causal attention with an online softmax, never holding a [length, length] matrix.
//
//   q      [models, batch, heads, length, HEAD4]   vec4  read   scaled and rotated
//   k v    [models, slots, heads / SHARE, capacity, HEAD4]  vec4  read  k rotated; SHARE heads of q share a head
//   places [batch]                                 vec2u read   with a cache: a sequence's slot and start
//   out    [models, batch, length, stride / 2]     vec2  write  head by head; padding columns become zero
//   lse    [models, batch, heads, length]          f32   write  log of the softmax's denominator
//
// out[i] = sum_{j <= start + i} softmax_j(q[i] · k[j]) v[j]
//
// Without a cache a sequence's slot is its own number and it starts at 0. A sequence whose slot lies beyond the cache is
// idle: nothing is written.
//
// One invocation per query; it walks its keys in ascending order, four at a time, and stops at its own position.
// The host sets HEAD4 and SHARE: registers need a constant length. Reference: attentionForwardReference in attention.ts.

override WG: u32 = 16u;
const HEAD4: u32 = 4u;
const SHARE: u32 = 1u;

struct Params { queries: u32, length: u32, heads: u32, head_size: u32, stride: u32, capacity: u32, slots: u32, cached: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<vec4f>;
@group(0) @binding(2) var<storage, read> k: array<vec4f>;
@group(0) @binding(3) var<storage, read> v: array<vec4f>;
@group(0) @binding(4) var<storage, read> places: array<vec2u>;
@group(0) @binding(5) var<storage, read_write> out: array<vec2f>;
@group(0) @binding(6) var<storage, read_write> lse: array<f32>;

fn load_q(i: u32) -> vec4f { return q[i]; }
fn load_k(i: u32) -> vec4f { return k[i]; }
fn load_v(i: u32) -> vec4f { return v[i]; }
fn store_out(i: u32, value: vec2f) { out[i] = value; }

const LOWEST: f32 = -3.0e38;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let local = (group.y * grid.x + group.x) * WG + lane;
  let rows = params.queries / params.heads; // queries = batch * heads * length
  let span = select(params.length, rows, params.cached == 1u); // neighbours with a head in common share its keys
  let head = local / span % params.heads;
  let row = local / (span * params.heads) * span + local % span;
  var place = vec2u(row / params.length, 0u); // slot and start
  let sequence = group.z * (rows / params.length) + place.x;
  let query = (sequence * params.heads + head) * params.length + row % params.length;
  let inside = local < params.queries;
  if (inside && params.cached == 1u) { place = places[place.x]; }
  if (!inside || place.x >= params.slots) { return; } // one return for both: each costs the loop some percent on llvmpipe
  let position = place.y + row % params.length;
  let first = ((group.z * params.slots + place.x) * (params.heads / SHARE) + head / SHARE) * params.capacity * HEAD4; // its key 0

  var mine: array<vec4f, HEAD4>;
  var sum: array<vec4f, HEAD4>;
  for (var i = 0u; i < HEAD4; i++) {
    mine[i] = load_q(query * HEAD4 + i);
    sum[i] = vec4f();
  }
  var peak = LOWEST;
  var total = 0.0;
  for (var j = 0u; j <= position; j += 4u) {
    let behind = vec4u(j, j + 1u, j + 2u, j + 3u) <= vec4u(position);
    let at = vec4u(j, min(j + 1u, position), min(j + 2u, position), min(j + 3u, position)) * HEAD4 + first;
    var score = vec4f();
    for (var i = 0u; i < HEAD4; i++) {
      score += vec4f(dot(mine[i], load_k(at.x + i)), dot(mine[i], load_k(at.y + i)), dot(mine[i], load_k(at.z + i)), dot(mine[i], load_k(at.w + i)));
    }
    score = select(vec4f(LOWEST), score, behind);
    let higher = max(peak, max(max(score.x, score.y), max(score.z, score.w)));
    let shrink = exp(peak - higher);
    let weight = select(vec4f(), exp(score - higher), behind);
    total = total * shrink + weight.x + weight.y + weight.z + weight.w;
    for (var i = 0u; i < HEAD4; i++) {
      sum[i] = sum[i] * shrink + weight.x * load_v(at.x + i) + weight.y * load_v(at.y + i) + weight.z * load_v(at.z + i) + weight.w * load_v(at.w + i);
    }
    peak = higher;
  }
  lse[query] = peak + log(total);

  let out_row = (group.z * rows + row) * params.stride;
  for (var i = 0u; i < HEAD4; i++) {
    let value = sum[i] / total;
    let place2 = (out_row + head * params.head_size) / 2u + i * 2u; // heads are even
    store_out(place2, value.xy);
    if (i * 4u + 2u < params.head_size) { store_out(place2 + 1u, value.zw); }
  }
  if (head == params.heads - 1u) {
    for (var c = params.heads * params.head_size; c < params.stride; c += 2u) { store_out((out_row + c) / 2u, vec2f()); }
  }
}
