// switch_gather: puts the rows that experts take side by side, expert after expert.
//
//   x       [models, rows, stride4]        vec4  read   f32 or bf16
//   tokens  [models, rows]                 u32   read   rows by place
//   groups  [models, experts, 2]           u32   read   first place and number of the tokens of each expert
//   choice  [models, rows]                 u32   read
//   gates   [models, rows, gate_stride]    f32   read
//   packed  [models, rows, stride4]        vec4  write  as many rows as experts take; f32 or bf16
//
// packed[p] = x[tokens[p]], where `scaled` is 1 times the gate of the token's expert.
// One invocation per place and vec4.

override WG: u32 = 64u;

struct Params { rows: u32, stride4: u32, experts: u32, gate_stride: u32, scaled: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> tokens: array<u32>;
@group(0) @binding(3) var<storage, read> groups: array<u32>;
@group(0) @binding(4) var<storage, read> choice: array<u32>;
@group(0) @binding(5) var<storage, read> gates: array<f32>;
@group(0) @binding(6) var<storage, read_write> packed: array<vec4f>;

fn load_x(i: u32) -> vec4f { return x[i]; }
fn store_packed(i: u32, value: vec4f) { packed[i] = value; }

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let index = (group.y * grid.x + group.x) * WG + lane;
  let place = index / params.stride4;
  let column = index % params.stride4;
  let last = 2u * (group.z * params.experts + params.experts - 1u);
  if (place >= groups[last] + groups[last + 1u]) { return; }
  let start = group.z * params.rows;
  let row = start + tokens[start + place];
  var value = load_x(row * params.stride4 + column);
  if (params.scaled == 1u) { value *= gates[row * params.gate_stride + choice[row]]; }
  store_packed((start + place) * params.stride4 + column, value);
}
