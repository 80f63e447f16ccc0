// cross_entropy_details_bindings: what all forms of cross_entropy_details bind beside what those of cross_entropy_forward do.

@group(0) @binding(5) var<storage, read_write> likeliest: array<f32>;
@group(0) @binding(6) var<storage, read_write> least: array<f32>;
