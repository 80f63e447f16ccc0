// rotary_backward: turns the gradients of q and k back and merges them with v's into the fused projection's gradient.
//
//   d_q d_k d_v  [models, batch, heads, length, head_stride]  f32    read
//   angles       [length, head_size / 2]                      vec2f  read   cos, sin
//   d_qkv        [models, rows, stride]                       f32    write  padding columns become zero
//
// The transpose of rotary_forward: (a, b) -> (a cos + b sin, b cos - a sin), q's gradient times scale.
//
// One invocation per row and head. Reference: rotateReference in rotary.ts.

override WG: u32 = 16u;

struct Params {
  rows: u32, stride: u32, heads: u32, head_size: u32, head_stride: u32, length: u32, scale: f32,
  capacity: u32, // unused: gradients have no cache
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_q: array<f32>;
@group(0) @binding(2) var<storage, read> d_k: array<f32>;
@group(0) @binding(3) var<storage, read> d_v: array<f32>;
@group(0) @binding(4) var<storage, read> angles: array<vec2f>;
@group(0) @binding(5) var<storage, read_write> d_qkv: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let index = (group.y * grid.x + group.x) * WG + lane;
  let row = index / params.heads;
  let head = index % params.heads;
  if (row >= params.rows) { return; }
  let d = params.head_size;
  let half = d / 2u;
  let position = row % params.length;
  let model_row = group.z * params.rows + row;
  let destination = model_row * params.stride + head * 3u * d;
  let sequence = model_row / params.length;
  let source = ((sequence * params.heads + head) * params.length + position) * params.head_stride;
  for (var i = 0u; i < half; i++) {
    let turn = angles[position * half + i];
    let qa = d_q[source + i];
    let qb = d_q[source + half + i];
    let ka = d_k[source + i];
    let kb = d_k[source + half + i];
    d_qkv[destination + i] = (qa * turn.x + qb * turn.y) * params.scale;
    d_qkv[destination + half + i] = (qb * turn.x - qa * turn.y) * params.scale;
    d_qkv[destination + d + i] = ka * turn.x + kb * turn.y;
    d_qkv[destination + d + half + i] = kb * turn.x - ka * turn.y;
  }
  for (var i = 0u; i < d; i++) { d_qkv[destination + 2u * d + i] = d_v[source + i]; }
  if (head == params.heads - 1u) {
    for (var i = 3u * d * params.heads; i < params.stride; i++) { d_qkv[model_row * params.stride + i] = 0.0; }
  }
}
