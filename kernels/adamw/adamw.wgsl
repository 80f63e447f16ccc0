// adamw: one AdamW step over a segment of every model's parameters, with the gradients scaled by clipping.
//
//   gradients  [models, size4]  vec4  read
//   clip       [models]         f32   read        scale of the gradients, from gradient_norm_finish
//   step       [1]              vec4  read        rate, 1 - beta1^t, 1 - beta2^t, unused; written by the host per step
//   weights    [models, size4]  vec4  read/write
//   moments    [models, size4]  vec4  read/write  first moment
//   squares    [models, size4]  vec4  read/write  second moment
//
// The first `decayed4` vec4s of a model are matrices and decay; the rest are biases and LayerNorm parameters.
// w <- w (1 - rate decay);  w <- w - rate m' / (sqrt(v') + epsilon), m' and v' bias-corrected.
//
// One invocation per vec4. Reference: adamwReference in adamw.ts.

override WG: u32 = 64u;

struct Params { size4: u32, decayed4: u32, beta1: f32, beta2: f32, epsilon: f32, decay: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gradients: array<vec4f>;
@group(0) @binding(2) var<storage, read> clip: array<f32>;
@group(0) @binding(3) var<storage, read> step: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> weights: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> moments: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> squares: array<vec4f>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let local = (group.y * grid.x + group.x) * WG + lane;
  if (local >= params.size4) { return; }
  let i = group.z * params.size4 + local;
  let g = gradients[i] * clip[group.z];
  let now = step[0];
  let rate = now.x;
  let m = fma(vec4f(params.beta1), moments[i], (1.0 - params.beta1) * g);
  let v = fma(vec4f(params.beta2), squares[i], (1.0 - params.beta2) * g * g);
  let kept = select(1.0, fma(-rate, params.decay, 1.0), local < params.decayed4);
  weights[i] = fma(weights[i], vec4f(kept), -(rate * (m / now.y) / (sqrt(v / now.z) + params.epsilon)));
  moments[i] = m;
  squares[i] = v;
}
