// rotary_backward: turns the gradients of q and k back and merges them with v's into the fused projection's gradient.
//
//   d_q d_k d_v  [models, batch, heads, length, head_stride / 2]  vec2f  read
//   angles       [length, head_size / 2]                          vec2f  read   cos, sin
//   d_qkv        [models, rows, stride / 2]                       vec2f  write  laid out as qkv; padding columns become zero
//
// The transpose of rotary_forward: (a, b) -> (a cos + b sin, b cos - a sin), q's gradient times scale.
// The gradients of k and v are those of each head of q: those of the SHARE heads that share them are added, in ascending order.
//
// One invocation per row and head of q, the first of those that share also for k and v; two columns at a time: heads are even,
// their halves may be odd.
// Reference: rotateReference in rotary.ts.

override WG: u32 = 16u;
override PAIRS: u32 = 1u; // 1: half a head is a whole number of pairs; 0: it is not
override SHARE: u32 = 1u; // heads of q per head of k and v

struct Params {
  rows: u32, stride: u32, heads: u32, head_size: u32, head_stride: u32, length: u32, scale: f32,
  query_step: u32, key_start: u32, value_start: u32, key_step: u32, width: u32,
  capacity: u32, // unused: gradients have no cache
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_q: array<vec2f>;
@group(0) @binding(2) var<storage, read> d_k: array<vec2f>;
@group(0) @binding(3) var<storage, read> d_v: array<vec2f>;
@group(0) @binding(4) var<storage, read> angles: array<vec2f>;
@group(0) @binding(5) var<storage, read_write> d_qkv: array<vec2f>;

// Columns `at` and the next of the gradients of keys and of values, over the heads of q that share them.
fn key_gradient(at: u32, head_step: u32) -> vec2f {
  var sum = d_k[at / 2u];
  for (var i = 1u; i < SHARE; i++) { sum += d_k[(at + i * head_step) / 2u]; }
  return sum;
}
fn value_gradient(at: u32, head_step: u32) -> vec2f {
  var sum = d_v[at / 2u];
  for (var i = 1u; i < SHARE; i++) { sum += d_v[(at + i * head_step) / 2u]; }
  return sum;
}

// Column `c` of q's gradient (x) and of k's (y) at `source`, turned back: for halves that a pair lies across.
fn turned(source: u32, head_step: u32, angle: u32, c: u32) -> vec2f {
  let half = params.head_size / 2u;
  let i = c % half;
  let turn = angles[angle + i];
  let first = source + i;
  let second = source + half + i;
  let a = vec2f(d_q[first / 2u][first % 2u], key_gradient(first, head_step)[first % 2u]);
  let b = vec2f(d_q[second / 2u][second % 2u], key_gradient(second, head_step)[second % 2u]);
  return select(fma(a, vec2f(turn.x), b * turn.y), fma(b, vec2f(turn.x), -(a * turn.y)), c >= half);
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
  let angle = (row % params.length) * half;
  let model_row = group.z * params.rows + row;
  let destination = model_row * params.stride + head * params.query_step;
  let leads = head % SHARE == 0u;
  let key_destination = model_row * params.stride + params.key_start + head / SHARE * params.key_step;
  let value_destination = model_row * params.stride + params.value_start + head / SHARE * params.key_step;
  let sequence = model_row / params.length;
  let source = ((sequence * params.heads + head) * params.length + row % params.length) * params.head_stride;
  let head_step = params.length * params.head_stride;
  if (PAIRS == 1u) {
    for (var i = 0u; i < half; i += 2u) {
      let turn = angles[angle + i];
      let next = angles[angle + i + 1u];
      let cosine = vec2f(turn.x, next.x);
      let sine = vec2f(turn.y, next.y);
      let qa = d_q[(source + i) / 2u];
      let qb = d_q[(source + half + i) / 2u];
      d_qkv[(destination + i) / 2u] = fma(qa, cosine, qb * sine) * params.scale;
      d_qkv[(destination + half + i) / 2u] = fma(qb, cosine, -(qa * sine)) * params.scale;
      if (!leads) { continue; }
      let ka = key_gradient(source + i, head_step);
      let kb = key_gradient(source + half + i, head_step);
      d_qkv[(key_destination + i) / 2u] = fma(ka, cosine, kb * sine);
      d_qkv[(key_destination + half + i) / 2u] = fma(kb, cosine, -(ka * sine));
    }
  } else {
    for (var c = 0u; c < d; c += 2u) {
      let left = turned(source, head_step, angle, c);
      let right = turned(source, head_step, angle, c + 1u);
      d_qkv[(destination + c) / 2u] = vec2f(left.x, right.x) * params.scale;
      if (leads) { d_qkv[(key_destination + c) / 2u] = vec2f(left.y, right.y); }
    }
  }
  if (leads) {
    for (var c = 0u; c < d; c += 2u) { d_qkv[(value_destination + c) / 2u] = value_gradient(source + c, head_step); }
  }
  if (head == params.heads - 1u) {
    for (var c = params.width; c < params.stride; c += 2u) { d_qkv[(model_row * params.stride + c) / 2u] = vec2f(); }
  }
}
