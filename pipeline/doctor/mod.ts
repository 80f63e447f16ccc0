/**
 * Examines the machine: drivers, adapters, memory, golden values, speed, and what is wrong.
 *
 * @module
 */

export {
  type DoctorProblem,
  type DoctorProblem as Problem,
  wordVariants,
  wordVariants as variantsText,
} from "./advice.ts";
export type { BitsResult } from "./bits.ts";
export { type AdapterDiagnosis, type Diagnosis, examine, type ExamineOptions } from "./doctor.ts";
export type { GoldenErrors, GoldenResult } from "./golden.ts";
export {
  type DriverFile,
  type FoundAdapter,
  listCards,
  NO_LIBRARIES,
  type System,
  type SystemPlaces,
} from "./system.ts";
