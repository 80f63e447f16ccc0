// swiglu_forward: the gated product of a row's two halves.
//
//   x  [rows, 2, inner4]  vec4  read   gates, then what they let through
//   y  [rows, inner4]     vec4  write
//
// y = x0 · sigmoid(x0) · x1
//
// One invocation per vec4 of y; rows are those of all models. Reference: swigluReference in swiglu.ts.

override WG: u32 = 64u;

struct Params { rows: u32, inner4: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;

fn load_x(i: u32) -> vec4f { return x[i]; }
fn store_y(i: u32, value: vec4f) { y[i] = value; }

// include sigmoid

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let index = (group.y * grid.x + group.x) * WG + lane;
  if (index >= params.rows * params.inner4) { return; }
  let place = index + index / params.inner4 * params.inner4; // of the gate
  let gate = load_x(place);
  store_y(index, gate * sigmoid(gate) * load_x(place + params.inner4));
}
