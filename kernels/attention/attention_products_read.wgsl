// attention_products_read: products of the output with its gradient as attention_backward_heads leaves them.

@group(0) @binding(6) var<storage, read> product: array<f32>;
@group(0) @binding(7) var<storage, read_write> d_q: array<vec4f>;

fn take_products(lane: u32, base: u32, first: u32) {}
fn product_of(base: u32, first: u32, row: u32) -> f32 { return product[base + min(first + row, params.length - 1u)]; }
