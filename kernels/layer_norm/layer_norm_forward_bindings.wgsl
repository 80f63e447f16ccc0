// layer_norm_forward_bindings: what all variants of layer_norm_forward bind; the tables in their headers describe it.

struct Params {
  rows: u32, columns: u32, stride4: u32, parameter_offset: u32, parameter_model: u32, epsilon: f32, block_rows: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> parameters: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> statistics: array<vec2f>;

fn load_x(i: u32) -> vec4f { return x[i]; }
fn store_y(i: u32, value: vec4f) { y[i] = value; }
