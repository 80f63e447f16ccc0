// sequence_sum_bindings: what all variants of sequence_sum bind; the tables in their headers describe it.

struct Params { batch: u32, length: u32, models: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> values: array<f32>;
@group(0) @binding(2) var<storage, read> slot: array<u32>;
@group(0) @binding(3) var<storage, read_write> sums: array<f32>;
