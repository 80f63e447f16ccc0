// rotary_forward: splits the fused projection into q, k, v by head and rotates q and k by their position.
//
//   qkv     [models, rows, stride4 * 4]                      f32    read   head by head: q, k, v of head_size each
//   angles  [capacity, head_size / 2]                        vec2f  read   cos, sin
//   start   [1]                                              u32    read   position of the first row
//   q       [models, batch, heads, length, head_stride]      f32    write  padding columns become zero
//   k v     [models, batch, heads, capacity, head_stride]    f32    write  at start..start + length: a cache
//
// (a, b) -> (a cos - b sin, b cos + a sin), a and b the halves of a head; q is then divided by sqrt(head_size),
// the scale of attention's scores. Row r is sequence r / length at position start + r % length.
//
// One invocation per row and head. Reference: rotateReference in rotary.ts.

override WG: u32 = 16u;

struct Params {
  rows: u32, stride: u32, heads: u32, head_size: u32, head_stride: u32, length: u32, scale: f32,
  capacity: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<f32>;
@group(0) @binding(2) var<storage, read> angles: array<vec2f>;
@group(0) @binding(3) var<storage, read> start: array<u32>;
@group(0) @binding(4) var<storage, read_write> q: array<f32>;
@group(0) @binding(5) var<storage, read_write> k: array<f32>;
@group(0) @binding(6) var<storage, read_write> v: array<f32>;

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
  let position = start[0] + local;
  let model_row = group.z * params.rows + row;
  let source = model_row * params.stride + head * 3u * d;
  let sequence = model_row / params.length; // rows is a multiple of length
  let head_index = sequence * params.heads + head;
  let q_row = (head_index * params.length + local) * params.head_stride;
  let kv_row = (head_index * params.capacity + position) * params.head_stride;
  for (var i = 0u; i < half; i++) {
    let turn = angles[position * half + i];
    let qa = qkv[source + i];
    let qb = qkv[source + half + i];
    let ka = qkv[source + d + i];
    let kb = qkv[source + d + half + i];
    q[q_row + i] = (qa * turn.x - qb * turn.y) * params.scale;
    q[q_row + half + i] = (qb * turn.x + qa * turn.y) * params.scale;
    k[kv_row + i] = ka * turn.x - kb * turn.y;
    k[kv_row + half + i] = kb * turn.x + ka * turn.y;
  }
  for (var i = 0u; i < d; i++) { v[kv_row + i] = qkv[source + 2u * d + i]; }
  for (var i = d; i < params.head_stride; i++) {
    q[q_row + i] = 0.0;
    k[kv_row + i] = 0.0;
    v[kv_row + i] = 0.0;
  }
}
