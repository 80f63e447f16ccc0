/**
 * The device, how numbers are stored, which variants of kernels run, and errors as data.
 *
 * @module
 */

export { type AdamwSettings } from "./adamw/adamw.ts";
export {
  ensure,
  ExplainedError,
  type Explanation,
  InputError,
  RunError,
  say,
  setting,
  type SettingReference,
  task,
  type TaskReference,
  type Text,
  type Words,
  wordText,
} from "./errors.ts";
export {
  type Arena,
  type BufferRange,
  type Dispatch,
  type DispatchPlan,
  type Gpu,
  type GpuBuffer,
  type KernelTime,
  openGpu,
  type OpenGpuOptions,
} from "./device/gpu.ts";
export { DeviceError, type DeviceFailure } from "./device/failures.ts";
export { type Dtype, type Storage } from "./device/storage.ts";
export { type Peak } from "./device/peak.ts";
export {
  type AdapterKind,
  type Offers,
  parseVariants,
  type Variants,
  variantsText,
} from "./device/variants.ts";
export { type Matrix } from "./device/matrix.ts";
export { type KeyValueCache } from "./rotary/rotary.ts";
