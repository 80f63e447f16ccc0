// matmul_workgroup_f16: tiles of A · B in f16, for matmul_workgroup. A fragment in the place of `element`.
//
// Factors beyond the largest value of f16, 65,504, count as that, and `saturated` counts them, once each; those below its
// smallest, 6e-8, count as 0. A NaN stays one. Products, and sums over the terms of a slice, are of f16, and these sums are added in f32. Where
// one of them leaves the range of f16 the element is computed again, in f32 of the same factors.
//
// params, load_a and load_b are those of the text that includes this.

@group(0) @binding(6) var<storage, read_write> saturated: atomic<u32>;

alias Element = vec4h;

const LARGEST: f32 = 65504.0;
const EXPONENT: u32 = 0x7f800000u; // all ones where a value is infinite or none

fn element(x: vec4f) -> Element {
  let none = (bitcast<vec4u>(x) & vec4u(0x7fffffffu)) > vec4u(EXPONENT); // clamp would give a NaN a value
  return vec4h(select(clamp(x, vec4f(-LARGEST), vec4f(LARGEST)), x, none));
}

// How many components are beyond the range, of those whose places, from `first` on, are below `end`.
fn beyond_of(x: vec4f, first: u32, end: u32) -> u32 {
  let places = vec4u(first) + vec4u(0u, 1u, 2u, 3u);
  let found = select(vec4u(), vec4u(1u), (abs(x) > vec4f(LARGEST)) & (places < vec4u(end)));
  return found.x + found.y + found.z + found.w;
}

fn checked(model: u32, row: u32, column: u32, sum: vec4f) -> vec4f {
  let lost = (bitcast<vec4u>(sum) & vec4u(EXPONENT)) == vec4u(EXPONENT);
  if (!any(lost) || row >= params.m || column >= params.n4) { return sum; }
  let a_row = params.a_offset + model * params.a_model + row * params.a_stride;
  let b_column = params.b_offset + model * params.b_model + column;
  var again = vec4f();
  for (var k = 0u; k < params.k; k += 4u) {
    let x = vec4f(element(load_a(a_row + k / 4u)));
    again += x.x * vec4f(element(load_b(b_column + k * params.b_stride)));
    if (k + 1u < params.k) { again += x.y * vec4f(element(load_b(b_column + (k + 1u) * params.b_stride))); }
    if (k + 2u < params.k) { again += x.z * vec4f(element(load_b(b_column + (k + 2u) * params.b_stride))); }
    if (k + 3u < params.k) { again += x.w * vec4f(element(load_b(b_column + (k + 3u) * params.b_stride))); }
  }
  return select(sum, again, lost); // an element depends on its own terms alone
}
