/**
 * The weights of models. On the host, those of one model are a map from Hugging Face names to f32
 * arrays. On the device, those of a bank of models are packed into a few large buffers. A binding
 * holds only so many models; where there are more, they lie in several banks, which run one after
 * another in the same activations.
 */

import { InputError } from "../../kernels/errors.ts";
import type { Arena, Dispatch, Gpu, GpuBuffer } from "../../kernels/device/gpu.ts";
import { type Matrix, padded } from "../../kernels/device/matrix.ts";
import { bytesPerValue, type Dtype } from "../../kernels/device/storage.ts";
import { takesPasses } from "../../kernels/matmul/matmul.ts";
import { transpose } from "../../kernels/transpose/transpose.ts";
import { normals } from "../random.ts";
import {
  type ActivationOptions,
  createActivations,
  largest,
  largestActivation,
} from "./activations.ts";
import {
  countValues,
  joinMatrices,
  listSublayers,
  type ModelConfig,
  type ParameterSpec,
  parameterSpecs,
} from "./shape.ts";
import type { BatchShape, Parameter } from "./sublayers/sublayer.ts";

/**
 * One model's weights: f32 arrays by Hugging Face tensor name, each `[out, in]` or `[columns]`,
 * without padding.
 */
export type Weights = Map<string, Float32Array>;

const INITIAL_DEVIATION = 0.02;

/**
 * Draws a model's initial weights: the same for the same `seed`, independent of everything else.
 */
export function initialWeights(config: ModelConfig, seed: number): Weights {
  const branches = listSublayers(config).length;
  return new Map(
    parameterSpecs(config).map((spec) => {
      const { name, initial } = spec;
      const size = countValues(spec);
      if (initial === "zeros") return [name, new Float32Array(size)];
      if (initial === "ones") return [name, new Float32Array(size).fill(1)];
      const deviation = INITIAL_DEVIATION / (initial === "residual" ? Math.sqrt(branches) : 1);
      return [
        name,
        normals(size, seed, `initial weights ${name}`).map((value) => value * deviation),
      ];
    }),
  );
}

/** Where one tensor lies. Sizes count f32 values. */
interface Placement {
  segment: number;
  offset: number;
  rows: number; // rows of all matrices of a stack
  columns: number;
  stride: number;
  stack: number;
}

/** Where every tensor of a bank lies. */
type Layout = ReturnType<typeof planLayout>;

/**
 * Packs the tensors of one model into segments of at most `limit` bytes each. A bank of any size
 * has the same segments: gradient norms add up by segment, so a model learns the same bits alone
 * and next to others.
 */
export function planLayout(config: ModelConfig, limit: number) {
  const capacity = Math.floor(limit / 4);
  const specs = parameterSpecs(config);
  const matrices = joinMatrices(specs);
  const vectors = specs.filter(({ shape }) => shape.length === 1);
  const { sizes, placements } = pack([...matrices, ...vectors], capacity);
  const transposedSpecs = matrices.map((spec) => ({
    ...spec,
    shape: [spec.shape[1], spec.shape[0]] as const,
  }));
  const transposed = pack(transposedSpecs, capacity);
  return {
    config,
    /**
     * A buffer `[models, size]` each: f32 values per model, and how many of them, from the start,
     * belong to matrices.
     */
    segments: sizes.map((size, segment) => ({
      size,
      decayed: matrices.map(({ name }) => placements.get(name)!)
        .reduce(
          (sum, place) => sum + (place.segment === segment ? place.rows * place.stride : 0),
          0,
        ),
    })),
    placements, // of matrices and vectors, by name
    tensors: placeTensors(specs, placements), // by name on disk
    transposedSegments: transposed.sizes, // values per model, as in `segments`
    transposedPlacements: transposed.placements, // by name
  };
}

/** Finds the place of every tensor: that of its matrix, or of the rows that are its own. */
function placeTensors(
  specs: readonly ParameterSpec[],
  placements: ReadonlyMap<string, Placement>,
): Map<string, Placement> {
  const filled = new Map<string, number>(); // rows of each matrix so far
  return new Map(specs.map(({ name, matrix, shape: [rows] }) => {
    if (matrix === undefined) return [name, placements.get(name)!];
    const whole = placements.get(matrix)!;
    const rowsAbove = filled.get(matrix) ?? 0;
    filled.set(matrix, rowsAbove + rows);
    return [name, { ...whole, rows, offset: whole.offset + rowsAbove * whole.stride }];
  }));
}

/**
 * Returns how many models of this shape one bank may hold, so that every buffer fits a binding of
 * `limit` bytes.
 *
 * Throws an `InputError`, with the tensor and both numbers, where not even one model fits.
 */
export function modelsPerBank(config: ModelConfig, shape: BatchShape, limit: number): number {
  const specs = parameterSpecs({ ...config, layers: 1 });
  const weights = joinMatrices(specs).map(({ name, shape: [rows, columns], stack = 1 }) => ({
    name: `tensor "${name}"`,
    values: stack * Math.max(rows * padded(columns), columns * padded(rows)),
  }));
  const activation = largestActivation(config, shape);
  const logits = { name: "row of logits", values: padded(config.vocabulary) };
  const { name, values } = largest([...weights, logits, activation]);
  const bytes = values * 4;
  if (bytes > limit) {
    throw new InputError(
      `Cannot place the ${name} as one tensor must fit the adapter's binding limit: ` +
        `it needs ${bytes} bytes, ` +
        `the limit is ${limit}`,
      { remedy: `use a smaller ${name === activation.name ? "batch" : "model"}` },
    );
  }
  // Its layers are a bank of their own.
  if (specs.some(({ stack }) => stack !== undefined)) return 1;
  const { segments, transposedSegments } = planLayout(config, limit);
  const most = Math.max(values, ...segments.map(({ size }) => size), ...transposedSegments);
  return Math.min(shape.models, Math.floor(limit / 4 / most));
}

function pack(
  specs: readonly (Omit<ParameterSpec, "shape"> & { shape: readonly [number, number?] })[],
  capacity: number,
) {
  const placements = new Map<string, Placement>();
  const sizes = [0];
  for (const { name, shape, initial, stack = 1 } of specs) {
    const [each, columns] = shape[1] === undefined ? [1, shape[0]] : [shape[0], shape[1]];
    const rows = stack * each;
    const stride = padded(columns);
    const size = rows * stride;
    // A LayerNorm's gain and bias are read together, so that a bias never starts a segment of its
    // own.
    const together = initial === "ones" ? 2 * size : size;
    if (sizes[sizes.length - 1] + together > capacity) sizes.push(0);
    const segment = sizes.length - 1;
    placements.set(name, { segment, offset: sizes[segment], rows, columns, stride, stack });
    sizes[segment] += size;
  }
  return { sizes, placements };
}

/** A bank: E models of one shape in stacked buffers. */
export type ModelBank = ReturnType<typeof createBank>;

/**
 * Makes the buffers of a bank and fills them with the weights of its models; products read matrices
 * in `dtype`.
 */
export function createBank(
  gpu: Gpu,
  arena: Arena,
  config: ModelConfig,
  models: readonly Weights[],
  dtype: Dtype = "f32",
) {
  const layout = planLayout(config, gpu.maxBindingBytes);
  const { segments, transposedSegments } = layout;
  const bank = {
    layout,
    dtype,
    models: models.length,
    /** One buffer f32 `[models, size]` per segment. */
    weights: segments.map(({ size }, i) => arena.buffer(`weights ${i}`, size * models.length * 4)),
    /** Transposed copies of the matrices in `dtype`, refreshed after every update. */
    transposed: transposedSegments.map((size, i) =>
      arena.buffer(`transposed ${i}`, size * models.length * bytesPerValue(dtype), dtype)
    ),
  };
  writeTensors(gpu, layout, bank.weights, models);
  return bank;
}

/**
 * Describes a matrix or vector of the bank as kernels read it. `gradients` are buffers with the
 * layout of the weights.
 */
export function findParameter(
  bank: ModelBank,
  name: string,
  gradients?: readonly GpuBuffer[],
): Parameter {
  const { placements, segments, transposedPlacements, transposedSegments } = bank.layout;
  const place = placements.get(name);
  if (!place) throw new RangeError(`Cannot find tensor "${name}" as this model has no such tensor`);
  const { rows, columns, stack } = place;
  const sizes = segments.map(({ size }) => size);
  const matrix = locateMatrix(place, bank.weights, sizes);
  const storage = "f32_as_bf16";
  return {
    rows: rows / stack,
    columns,
    stack,
    matrix,
    asRead: bank.dtype === "f32" ? matrix : { ...matrix, buffer: { ...matrix.buffer, storage } },
    get transposed() {
      return locateMatrix(transposedPlacements.get(name)!, bank.transposed, transposedSegments);
    },
    get gradient() {
      return locateMatrix(place, gradients!, sizes);
    },
  };
}

/** Describes the matrices of a tensor: one of each model, or the stack of one model. */
function locateMatrix(
  { segment, offset, rows, stride, stack }: Placement,
  buffers: readonly GpuBuffer[],
  sizes: readonly number[],
): Matrix {
  return {
    buffer: buffers[segment],
    offset,
    stride,
    model: stack > 1 ? rows / stack * stride : sizes[segment],
  };
}

/** Plans the transposed copies of a bank's matrices: run them after every change of its weights. */
export function planTransposes(gpu: Gpu, bank: ModelBank): Dispatch[] {
  const { layout, models } = bank;
  return [...layout.transposedPlacements.keys()].map((name) => {
    const { rows, columns, stack, matrix, transposed } = findParameter(bank, name);
    return transpose(gpu, { a: matrix, b: transposed, models: models * stack, rows, columns });
  });
}

/** A bank that holds the models from number `first` on, with the buffers of their passes. */
export type PreparedBank = ReturnType<typeof createBanks>["banks"][number];

/**
 * Uploads models, and makes the buffers for their batches. Throws an `InputError` where a tensor
 * does not fit a binding.
 */
export function createBanks(
  gpu: Gpu,
  arena: Arena,
  config: ModelConfig,
  models: readonly Weights[],
  shape: Omit<BatchShape, "models">,
  options: Omit<ActivationOptions, "kind" | "loss" | "limit" | "sums">,
) {
  const { kind, maxBindingBytes: limit, variants: { loss } } = gpu;
  const { training, gathered, dtype } = options;
  const perBank = modelsPerBank(config, { ...gathered ?? shape, models: models.length }, limit);
  const sums = training || takesPasses(gpu);
  const sizes = { ...shape, models: perBank };
  const acts = createActivations(arena, config, sizes, { ...options, kind, loss, limit, sums });
  const banks = Array.from({ length: Math.ceil(models.length / perBank) }, (_, i) => {
    const first = i * perBank;
    const group = models.slice(first, first + perBank);
    const bank = createBank(gpu, arena, config, group, dtype);
    const transposes: Dispatch[] = planTransposes(gpu, bank);
    gpu.submit(transposes);
    const size = group.length;
    return {
      first,
      size,
      bank,
      transposes,
      acts: { ...acts, shape: { ...acts.shape, models: size } },
    };
  });
  return { acts, banks };
}

/** Uploads one list of tensors (weights, or moments) of every model of the bank. */
export function writeTensors(
  gpu: Gpu,
  layout: Layout,
  buffers: readonly GpuBuffer[],
  models: readonly Weights[],
): void {
  models.forEach((tensors, model) => {
    const host = layout.segments.map(({ size }) => new Float32Array(size));
    for (const [name, { segment, offset, rows, columns, stride }] of layout.tensors) {
      const values = tensors.get(name);
      if (!values || values.length !== rows * columns) {
        throw new RangeError(
          `Cannot load tensor "${name}" as it must hold ${rows} × ${columns} values: ` +
            `it ${values ? `holds ${values.length}` : "is missing"}`,
        );
      }
      for (let row = 0; row < rows; row++) {
        host[segment].set(
          values.subarray(row * columns, (row + 1) * columns),
          offset + row * stride,
        );
      }
    }
    host.forEach((values, segment) =>
      gpu.write(buffers[segment], values, model * values.byteLength)
    );
  });
}

/** Reads one list of tensors of every model of a bank of `size` back. */
export async function readTensors(
  gpu: Gpu,
  { config, tensors: places, segments }: Layout,
  buffers: readonly GpuBuffer[],
  size: number,
): Promise<Weights[]> {
  const models: Weights[] = [];
  for (let model = 0; model < size; model++) {
    const parts = await gpu.read(buffers.map((buffer, segment) => {
      const bytes = segments[segment].size * 4;
      return { buffer, byteOffset: model * bytes, bytes };
    }));
    const host = parts.map((part) => new Float32Array(part));
    const tensors: Weights = new Map();
    for (const { name } of parameterSpecs(config)) {
      const { segment, offset, rows, columns, stride } = places.get(name)!;
      const values = new Float32Array(rows * columns);
      for (let row = 0; row < rows; row++) {
        const start = offset + row * stride;
        values.set(host[segment].subarray(start, start + columns), row * columns);
      }
      tensors.set(name, values);
    }
    models.push(tensors);
  }
  return models;
}
