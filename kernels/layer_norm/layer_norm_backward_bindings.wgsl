// layer_norm_backward_bindings: what all variants of layer_norm_backward bind; the tables in their headers describe it.

struct Params {
  rows: u32, columns: u32, stride4: u32, parameter_offset: u32, parameter_model: u32, accumulate: u32, block_rows: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_y: array<vec4f>;
@group(0) @binding(2) var<storage, read> x: array<vec4f>;
@group(0) @binding(3) var<storage, read> statistics: array<vec2f>;
@group(0) @binding(4) var<storage, read> parameters: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> d_x: array<vec4f>;

fn load_x(i: u32) -> vec4f { return x[i]; }
