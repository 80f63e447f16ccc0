// matmul_tail: what all variants of a product A · B bind next to a, and what is done with a sum before it is stored.
//
// TAIL 0: A·B    1: + bias    2: gelu(A·B + bias)    3: A·B + bias + extra    4: A·B ⊙ gelu'(extra)    5: A·B + extra
//
// TAIL, ACCUMULATE, Params and a are those of the text that includes this; the table in its header describes the buffers.

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> b: array<vec4f>;
@group(0) @binding(3) var<storage, read> bias: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> extra: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> c: array<vec4f>;

fn load_b(i: u32) -> vec4f { return b[i]; }
fn load_extra(i: u32) -> vec4f { return extra[i]; }
fn store_extra(i: u32, value: vec4f) { extra[i] = value; }
fn load_c(i: u32) -> vec4f { return c[i]; }
fn store_c(i: u32, value: vec4f) { c[i] = value; }

const GELU_SCALE: f32 = 0.7978845608028654; // sqrt(2 / pi)
const GELU_CUBIC: f32 = 0.044715;

// tanh through exp of a clamped argument: the driver's tanh overflows for large inputs.
fn tanh4(x: vec4f) -> vec4f {
  let e = exp(2.0 * clamp(x, vec4f(-15.0), vec4f(15.0)));
  return (e - 1.0) / (e + 1.0);
}

// gelu(x) and its derivative, from t = tanh(sqrt(2 / pi) (x + 0.044715 x³)).
fn gelu_tanh(x: vec4f) -> vec4f { return tanh4(GELU_SCALE * fma(GELU_CUBIC * x * x, x, x)); }
fn gelu(x: vec4f, t: vec4f) -> vec4f { return 0.5 * x * (1.0 + t); }
// From 6.5 on, t is at its end and the slope is 0 or 1. A driver whose division rounds coarsely leaves 1 - t² at 1e-7 there:
// bounds on x, in place of its cube, keep that small.
fn gelu_slope(x: vec4f, t: vec4f) -> vec4f {
  let b = clamp(x, vec4f(-8.0), vec4f(8.0));
  let slope = 0.5 * b * fma(-t, t, vec4f(1.0)) * GELU_SCALE * fma(3.0 * GELU_CUBIC * b, b, vec4f(1.0));
  return fma(vec4f(0.5), 1.0 + t, slope);
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
  if (TAIL == 3u || TAIL == 5u) { value += x; }
  if (TAIL == 2u || TAIL == 4u) {
    let t = gelu_tanh(x);
    if (TAIL == 2u) { value = gelu(x, t); } else { value *= gelu_slope(x, t); }
  }
  let index = params.c_offset + model * params.c_model + row * params.c_stride + column;
  if (ACCUMULATE == 1u) { value += load_c(index); }
  store_c(index, value);
}
