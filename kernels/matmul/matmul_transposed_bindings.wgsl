// matmul_transposed_bindings: what all variants of Aᵀ · B bind; the tables in their headers describe it.

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;
@group(0) @binding(2) var<storage, read> b: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> c: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> sums: array<vec4f>;

fn load_a(i: u32) -> vec4f { return a[i]; }
fn load_b(i: u32) -> vec4f { return b[i]; }
fn load_c(i: u32) -> vec4f { return c[i]; }
fn store_c(i: u32, value: vec4f) { c[i] = value; }
