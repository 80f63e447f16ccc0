/**
 * Examines the machine: drivers, adapters, memory, golden values, speed, and what is wrong.
 *
 * @module
 */

export { type FoundAdapter } from "./adapters.ts";
export { type Problem } from "./advice.ts";
export {
  type AdapterDiagnosis,
  type Diagnosis,
  examine,
  type ExamineOptions,
  type GoldenResult,
  type MeasuredStep,
  variantsText,
} from "./doctor.ts";
export { type GoldenErrors } from "./golden.ts";
export { cardsOf, type DriverFile, NO_LIBRARIES, type System, type SystemPlaces } from "./system.ts";
