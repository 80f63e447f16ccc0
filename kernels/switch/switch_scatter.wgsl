// switch_scatter: puts what experts made back where their tokens stand.
//
//   packed  [models, rows, stride4]      vec4  read   rows by place; f32 or bf16
//   places  [models, rows]               u32   read   2^32 − 1 for tokens that no expert takes
//   choice  [models, rows]               u32   read
//   gates   [models, rows, gate_stride]  f32   read
//   x       [models, rows, stride4]      vec4  read   f32 or bf16; where `forward` is 1
//   y       [models, rows, stride4]      vec4  write  f32 or bf16
//
// Where `forward` is 1, y = x + the gate of the token's expert · packed[place], else y = packed[place]; a token that no
// expert takes gets zero of it. One invocation per row and vec4.

override WG: u32 = 64u;

struct Params { rows: u32, stride4: u32, gate_stride: u32, forward: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> packed: array<vec4f>;
@group(0) @binding(2) var<storage, read> places: array<u32>;
@group(0) @binding(3) var<storage, read> choice: array<u32>;
@group(0) @binding(4) var<storage, read> gates: array<f32>;
@group(0) @binding(5) var<storage, read> x: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> y: array<vec4f>;

fn load_packed(i: u32) -> vec4f { return packed[i]; }
fn load_x(i: u32) -> vec4f { return x[i]; }
fn store_y(i: u32, value: vec4f) { y[i] = value; }

const NOWHERE: u32 = 0xffffffffu;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let index = (group.y * grid.x + group.x) * WG + lane;
  let row = index / params.stride4;
  let column = index % params.stride4;
  if (row >= params.rows) { return; }
  let start = group.z * params.rows;
  let out = (start + row) * params.stride4 + column;
  let place = places[start + row];
  var value = vec4f();
  if (place != NOWHERE) { value = load_packed((start + place) * params.stride4 + column); }
  if (params.forward == 1u) {
    if (place != NOWHERE) { value *= gates[(start + row) * params.gate_stride + choice[start + row]]; }
    value += load_x(out);
  }
  store_y(out, value);
}
