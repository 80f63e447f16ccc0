// gradient_norm_finish_bindings: what all forms of gradient_norm_finish bind; the tables in their headers describe it.

struct Params { places: u32, models: u32, limit: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> partial: array<f32>;
@group(0) @binding(2) var<storage, read> slot: array<u32>;
@group(0) @binding(3) var<storage, read_write> clip: array<f32>;
@group(0) @binding(4) var<storage, read_write> norms: array<f32>;
