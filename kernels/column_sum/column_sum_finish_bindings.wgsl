// column_sum_finish_bindings: what all forms of column_sum_finish bind; the tables in their headers describe it.

struct Params { blocks: u32, width4: u32, sum_offset: u32, sum_model: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> partial: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> sums: array<vec4f>;
