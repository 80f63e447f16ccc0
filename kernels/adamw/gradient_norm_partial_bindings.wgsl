// gradient_norm_partial_bindings: what all forms of gradient_norm_partial bind; the tables in their headers describe it.

struct Params { size4: u32, places: u32, first: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gradients: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> partial: array<f32>;
