// rotary_forward: splits the fused projection into q, k, v by head and rotates q and k by their position.
//
//   qkv     [models, rows, stride / 2]                       vec2f  read   q, k, v of head_size each: head by head, or all q first, …
//   angles  [capacity, head_size / 2]                        vec2f  read   cos, sin
//   places  [batch]                                          vec2u  read   with a cache: a sequence's slot and start
//   q       [models, batch, heads, length, head_stride / 2]  vec2   write  padding columns become zero
//   k v     [models, slots, heads / SHARE, capacity, head_stride / 2]  vec2  write  at start..start + length of the slot
//
// (a, b) -> (a cos - b sin, b cos + a sin), a and b the halves of a head; q is then divided by sqrt(head_size),
// the scale of attention's scores. Row r is sequence r / length at position start + r % length. Without a cache a
// sequence's slot is its own number and it starts at 0. A sequence whose slot lies beyond the cache is idle: nothing is
// written.
//
// Head h of q begins at column h · query_step; the keys of SHARE heads at key_start + h / SHARE · key_step.
//
// One invocation per row and head of q, the first of those that share also k and v; two columns at a time: heads are even, their halves
// may be odd. Reference: rotateReference in rotary.ts.

override WG: u32 = 16u;
override PAIRS: u32 = 1u; // 1: half a head is a whole number of pairs; 0: it is not
override SHARE: u32 = 1u; // heads of q per head of k and v

struct Params {
  rows: u32, stride: u32, heads: u32, head_size: u32, head_stride: u32, length: u32, scale: f32,
  query_step: u32, key_start: u32, value_start: u32, key_step: u32, width: u32,
  capacity: u32, slots: u32, cached: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<vec2f>;
@group(0) @binding(2) var<storage, read> angles: array<vec2f>;
@group(0) @binding(3) var<storage, read> places: array<vec2u>;
@group(0) @binding(4) var<storage, read_write> q: array<vec2f>;
@group(0) @binding(5) var<storage, read_write> k: array<vec2f>;
@group(0) @binding(6) var<storage, read_write> v: array<vec2f>;

fn store_q(i: u32, value: vec2f) { q[i] = value; }
fn store_k(i: u32, value: vec2f) { k[i] = value; }
fn store_v(i: u32, value: vec2f) { v[i] = value; }

// Column `c` of the head at `source`, turned: for halves that a pair of columns lies across.
fn turned(source: u32, angle: u32, c: u32) -> f32 {
  let half = params.head_size / 2u;
  let i = c % half;
  let turn = angles[angle + i];
  let a = qkv[(source + i) / 2u][(source + i) % 2u];
  let b = qkv[(source + half + i) / 2u][(source + half + i) % 2u];
  return select(fma(a, turn.x, -(b * turn.y)), fma(b, turn.x, a * turn.y), c >= half);
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let index = (group.y * grid.x + group.x) * WG + lane;
  let row = index / params.heads;
  let head = index % params.heads;
  if (row >= params.rows) { return; }
  let d = params.head_size;
  let half = d / 2u;
  let local = row % params.length;
  var place = vec2u(row / params.length, 0u); // slot and start; rows is a multiple of length
  if (params.cached == 1u) { place = places[place.x]; }
  if (place.x >= params.slots) { return; }
  let position = place.y + local;
  let angle = position * half;
  let model_row = group.z * params.rows + row;
  let source = model_row * params.stride + head * params.query_step;
  let key_head = head / SHARE;
  let leads = head % SHARE == 0u;
  let key_source = model_row * params.stride + params.key_start + key_head * params.key_step;
  let value_source = model_row * params.stride + params.value_start + key_head * params.key_step;
  let q_row = ((model_row / params.length * params.heads + head) * params.length + local) * params.head_stride;
  let slot_head = (group.z * params.slots + place.x) * (params.heads / SHARE) + key_head;
  let kv_row = (slot_head * params.capacity + position) * params.head_stride;
  if (PAIRS == 1u) {
    for (var i = 0u; i < half; i += 2u) {
      let turn = angles[angle + i];
      let next = angles[angle + i + 1u];
      let cosine = vec2f(turn.x, next.x);
      let sine = vec2f(turn.y, next.y);
      let qa = qkv[(source + i) / 2u];
      let qb = qkv[(source + half + i) / 2u];
      store_q((q_row + i) / 2u, fma(qa, cosine, -(qb * sine)) * params.scale);
      store_q((q_row + half + i) / 2u, fma(qb, cosine, qa * sine) * params.scale);
      if (!leads) { continue; }
      let ka = qkv[(key_source + i) / 2u];
      let kb = qkv[(key_source + half + i) / 2u];
      store_k((kv_row + i) / 2u, fma(ka, cosine, -(kb * sine)));
      store_k((kv_row + half + i) / 2u, fma(kb, cosine, ka * sine));
    }
  } else {
    for (var c = 0u; c < d; c += 2u) {
      let left = vec2f(turned(source, angle, c), turned(source, angle, c + 1u));
      store_q((q_row + c) / 2u, left * params.scale);
      if (!leads) { continue; }
      let right = vec2f(turned(key_source, angle, c), turned(key_source, angle, c + 1u));
      store_k((kv_row + c) / 2u, right);
    }
  }
  for (var c = d; c < params.head_stride; c += 2u) { store_q((q_row + c) / 2u, vec2f()); }
  if (!leads) { return; }
  for (var c = 0u; c < d; c += 2u) { store_v((kv_row + c) / 2u, qkv[(value_source + c) / 2u]); }
  for (var c = d; c < params.head_stride; c += 2u) {
    store_k((kv_row + c) / 2u, vec2f());
    store_v((kv_row + c) / 2u, vec2f());
  }
}
