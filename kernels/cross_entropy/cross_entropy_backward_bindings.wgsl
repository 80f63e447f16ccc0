// cross_entropy_backward_bindings: what all variants of cross_entropy_backward bind; the tables in their headers describe it.

struct Params { chunk: u32, first: u32, rows: u32, vocab: u32, stride4: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> targets: array<u32>;
@group(0) @binding(2) var<storage, read> weights: array<f32>;
@group(0) @binding(3) var<storage, read_write> logits: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> nll: array<f32>;
