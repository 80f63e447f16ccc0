// cross_entropy_details_bindings: what all forms of cross_entropy_details bind; the tables in their headers describe it.

struct Params { chunk: u32, first: u32, rows: u32, vocab: u32, stride4: u32, target_model: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<vec4f>;
@group(0) @binding(2) var<storage, read> targets: array<u32>;
@group(0) @binding(3) var<storage, read> weights: array<f32>;
@group(0) @binding(4) var<storage, read_write> nll: array<f32>;
@group(0) @binding(5) var<storage, read_write> likeliest: array<f32>;
@group(0) @binding(6) var<storage, read_write> least: array<f32>;
