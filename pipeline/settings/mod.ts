/**
 * Everything that can be set, as tables of fields; the presets; how values are resolved, and how a field is
 * made.
 *
 * @module
 */

export { type Configuration, FIELDS } from "./configuration.ts";
export {
  checkValue,
  type Field,
  type Fields,
  fillValues,
  parseValue,
  readSomeValues,
  type Values,
} from "./field.ts";
export * as field from "./field.ts";
export { nearest } from "./nearest.ts";
export { withLevels } from "./partitioner.ts";
export { findPreset, PRESETS } from "./presets.ts";
export { resolveConfiguration, type Sources } from "./resolution.ts";
