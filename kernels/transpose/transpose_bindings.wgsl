// transpose_bindings: what all variants of transpose bind; the tables in their headers describe it.

struct Params {
  rows: u32, columns: u32, a_offset: u32, a_stride: u32, a_model: u32, b_offset: u32, b_stride: u32, b_model: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> b: array<vec4f>;

fn store_b(i: u32, value: vec4f) { b[i] = value; }
