// switch_route: the expert of every token, and the probabilities of all (Switch Transformer, section 2.1).
//
//   logits   [models, rows, stride]  f32  read   columns experts..stride are padding
//   lengths  [models | 1, batch]     u32  read   real tokens of each sequence; length_model is 0 where all models share them
//   gates    [models, rows, stride]  f32  write  g = softmax(logits); zero in padding columns and for tokens that go nowhere
//   choice   [models, rows]          u32  write  argmax g, the lower id of equals; `experts` for tokens that go nowhere
//
// A token goes to an expert if it predicts another one: the last of a sequence and padding do not, unless `all` is 1.
// One invocation per row, experts in ascending order: equal bits. Reference: switchRouteReference in switch.ts.

override WG: u32 = 64u;

struct Params { rows: u32, length: u32, experts: u32, stride: u32, length_model: u32, all: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> lengths: array<u32>;
@group(0) @binding(3) var<storage, read_write> gates: array<f32>;
@group(0) @binding(4) var<storage, read_write> choice: array<u32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let row = (group.y * grid.x + group.x) * WG + lane;
  if (row >= params.rows) { return; }
  let index = group.z * params.rows + row;
  let base = index * params.stride;
  let goes = params.all == 1u ||
    row % params.length + 1u < lengths[group.z * params.length_model + row / params.length];
  if (!goes) {
    for (var i = 0u; i < params.stride; i++) { gates[base + i] = 0.0; }
    choice[index] = params.experts;
    return;
  }
  var best = 0u;
  var peak = logits[base];
  for (var i = 1u; i < params.experts; i++) {
    let logit = logits[base + i];
    if (logit > peak) {
      best = i;
      peak = logit;
    }
  }
  var sum = 0.0;
  for (var i = 0u; i < params.experts; i++) { sum += exp(logits[base + i] - peak); }
  for (var i = 0u; i < params.stride; i++) {
    gates[base + i] = select(0.0, exp(logits[base + i] - peak) / sum, i < params.experts);
  }
  choice[index] = best;
}
