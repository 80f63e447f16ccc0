// matmul_tail: what is done with a sum of A · B before it is stored, for the texts of all variants.
//
// TAIL 0: A·B    1: + bias    2: gelu(A·B + bias)    3: A·B + bias + extra    4: A·B ⊙ gelu'(extra)
//
// TAIL, ACCUMULATE, params and the buffers are those of the text that includes this.

const GELU_SCALE: f32 = 0.7978845608028654; // sqrt(2 / pi)
const GELU_CUBIC: f32 = 0.044715;

// tanh through exp of a clamped argument: the driver's tanh overflows for large inputs.
fn tanh4(x: vec4f) -> vec4f {
  let e = exp(2.0 * clamp(x, vec4f(-15.0), vec4f(15.0)));
  return (e - 1.0) / (e + 1.0);
}

// gelu(x) and its derivative, from t = tanh(sqrt(2 / pi) (x + 0.044715 x³)).
fn gelu_tanh(x: vec4f) -> vec4f { return tanh4(GELU_SCALE * (x + GELU_CUBIC * x * x * x)); }
fn gelu(x: vec4f, t: vec4f) -> vec4f { return 0.5 * x * (1.0 + t); }
// From 6.5 on, t is at its end and the slope is 0 or 1. A driver whose division rounds coarsely leaves 1 - t² at 1e-7 there:
// bounds on x, in place of its cube, keep that small.
fn gelu_slope(x: vec4f, t: vec4f) -> vec4f {
  let b = clamp(x, vec4f(-8.0), vec4f(8.0));
  return 0.5 * (1.0 + t) + 0.5 * b * (1.0 - t * t) * GELU_SCALE * (1.0 + 3.0 * GELU_CUBIC * b * b);
}

fn finish(model: u32, row: u32, column: u32, sum: vec4f) {
  if (row >= params.m || column >= params.n4) { return; }
  var value = sum;
  if (TAIL >= 1u && TAIL <= 3u) {
    value += bias[params.bias_offset + model * params.bias_model + column];
  }
  let extra_index = params.extra_offset + model * params.extra_model + row * params.extra_stride + column;
  if (TAIL == 2u) { store_extra(extra_index, value); }
  var x = value;
  if (TAIL >= 3u) { x = load_extra(extra_index); }
  if (TAIL == 3u) { value += x; }
  if (TAIL == 2u || TAIL == 4u) {
    let t = gelu_tanh(x);
    if (TAIL == 2u) { value = gelu(x, t); } else { value *= gelu_slope(x, t); }
  }
  let index = params.c_offset + model * params.c_model + row * params.c_stride + column;
  if (ACCUMULATE == 1u) { value += load_c(index); }
  store_c(index, value);
}
