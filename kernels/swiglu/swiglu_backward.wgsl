// swiglu_backward: the gradient of the gated product of a row's two halves.
//
//   d_y  [rows, inner4]     vec4  read
//   x    [rows, 2, inner4]  vec4  read   as given to swiglu_forward
//   d_x  [rows, 2, inner4]  vec4  write
//
// with s = sigmoid(x0):  d_x0 = d_y · x1 · s (1 + x0 (1 - s)),  d_x1 = d_y · x0 · s
//
// One invocation per vec4 of d_y; rows are those of all models. Reference: swigluBackwardReference in swiglu.ts.

override WG: u32 = 64u;

struct Params { rows: u32, inner4: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_y: array<vec4f>;
@group(0) @binding(2) var<storage, read> x: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> d_x: array<vec4f>;

fn load_x(i: u32) -> vec4f { return x[i]; }

// include sigmoid

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let index = (group.y * grid.x + group.x) * WG + lane;
  if (index >= params.rows * params.inner4) { return; }
  let place = index + index / params.inner4 * params.inner4; // of the gate
  let gate = load_x(place);
  let s = sigmoid(gate);
  let d = d_y[index];
  d_x[place] = d * load_x(place + params.inner4) * s * fma(gate, 1.0 - s, vec4f(1.0));
  d_x[place + params.inner4] = d * gate * s;
}
