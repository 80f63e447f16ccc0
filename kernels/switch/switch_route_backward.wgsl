// switch_route_backward: the gradient of the router's logits.
//
//   d_y       [models, rows, stride4]      vec4  read   gradient of the layer's output
//   packed    [models, rows, stride4]      vec4  read   what experts made, rows by place; f32 or bf16
//   places    [models, rows]               u32   read   2^32 − 1 for tokens that no expert takes
//   choice    [models, rows]               u32   read   `experts` for tokens that go nowhere
//   gates     [models, rows, gate_stride]  f32   read
//   pull      [models, experts]            f32   read   gradient of the loss by gates, from the balance of the load
//   d_logits  [models, rows, gate_stride]  f32   write  zero in padding columns and for tokens that go nowhere
//
// d_g[i] = pull[i], for the token's expert also d_y · packed[place]; d_logits[i] = g[i] · (d_g[i] − Σ_j g[j] d_g[j]).
// One invocation per row, columns and experts in ascending order: equal bits.
// Reference: switchRouteBackwardReference in switch.ts.

override WG: u32 = 16u;

struct Params { rows: u32, stride4: u32, experts: u32, gate_stride: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_y: array<vec4f>;
@group(0) @binding(2) var<storage, read> packed: array<vec4f>;
@group(0) @binding(3) var<storage, read> places: array<u32>;
@group(0) @binding(4) var<storage, read> choice: array<u32>;
@group(0) @binding(5) var<storage, read> gates: array<f32>;
@group(0) @binding(6) var<storage, read> pull: array<f32>;
@group(0) @binding(7) var<storage, read_write> d_logits: array<f32>;

fn load_packed(i: u32) -> vec4f { return packed[i]; }

const NOWHERE: u32 = 0xffffffffu;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let row = (group.y * grid.x + group.x) * WG + lane;
  if (row >= params.rows) { return; }
  let start = group.z * params.rows;
  let expert = choice[start + row];
  let place = places[start + row];
  var sums = vec4f();
  if (place != NOWHERE) {
    let made = (start + place) * params.stride4;
    let wanted = (start + row) * params.stride4;
    for (var i = 0u; i < params.stride4; i++) { sums = fma(d_y[wanted + i], load_packed(made + i), sums); }
  }
  let own = sums.x + sums.y + sums.z + sums.w;
  let base = (start + row) * params.gate_stride;
  let pulls = group.z * params.experts;
  var mean = 0.0;
  for (var i = 0u; i < params.experts; i++) {
    mean = fma(gates[base + i], pull[pulls + i] + select(0.0, own, i == expert), mean);
  }
  for (var i = 0u; i < params.gate_stride; i++) {
    var value = 0.0;
    if (i < params.experts) {
      value = gates[base + i] * (pull[pulls + i] + select(0.0, own, i == expert) - mean);
    }
    d_logits[base + i] = value;
  }
}
