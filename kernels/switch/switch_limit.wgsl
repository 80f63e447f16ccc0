// switch_limit: how many tokens every expert takes, where they lie, and the balance of the load (Switch Transformer,
// equations 3 to 6).
//
//   totals      [models, experts + 1]  u32  read   tokens sent to each expert, and all of them, T
//   sums        [models, experts + 1]  f32  read   sums of gates, and of the weights in the loss: the pass's share of the step
//   capacities  [most + 1]             f32  read   most tokens that an expert takes of T, whole numbers; used where `drops` is 1
//   groups      [models, experts, 2]   u32  write  first place and number of the tokens that each expert takes
//   pull        [models, experts]      f32  write  gradient of the loss by a token's gates: scale · share · experts · f / T
//   reports     [models, report_model] f32  write  from `report` on, where `drops` is 1: scale · share · balance; share ·
//                                                  balance; tokens sent; those that no expert takes
//
// balance = experts · Σ f P, f an expert's share of the tokens sent, P their mean gate; 0 where there is no token.
// One invocation per model, experts in ascending order: equal bits. Reference: switchPlanReference in switch.ts.

struct Params { models: u32, experts: u32, drops: u32, scale: f32, report: u32, report_model: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> totals: array<u32>;
@group(0) @binding(2) var<storage, read> sums: array<f32>;
@group(0) @binding(3) var<storage, read> capacities: array<f32>;
@group(0) @binding(4) var<storage, read_write> groups: array<u32>;
@group(0) @binding(5) var<storage, read_write> pull: array<f32>;
@group(0) @binding(6) var<storage, read_write> reports: array<f32>;

@compute @workgroup_size(1)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u) {
  if (group.x + group.y * grid.x > 0u) { return; }
  let base = group.z * (params.experts + 1u);
  let tokens = totals[base + params.experts];
  let share = sums[base + params.experts];
  let real = max(f32(tokens), 1.0);
  let most = select(tokens, u32(capacities[tokens]), params.drops == 1u);
  let experts = f32(params.experts);
  var start = 0u;
  var balance = 0.0;
  for (var expert = 0u; expert < params.experts; expert++) {
    let sent = totals[base + expert];
    let takes = min(sent, most);
    let out = group.z * params.experts + expert;
    groups[2u * out] = start;
    groups[2u * out + 1u] = takes;
    start += takes;
    let part = f32(sent) / real;
    balance += part * (sums[base + expert] / real);
    pull[out] = params.scale * share * experts * part / real;
  }
  if (params.drops == 1u) {
    let report = params.report + group.z * params.report_model;
    reports[report] = params.scale * share * experts * balance;
    reports[report + 1u] = share * experts * balance;
    reports[report + 2u] = f32(tokens);
    reports[report + 3u] = f32(tokens - start);
  }
}
