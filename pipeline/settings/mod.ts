/**
 * Everything that can be set, as tables of fields; the presets; how values are resolved, and how a
 * field is made.
 *
 * @module
 */

export { type Configuration, FIELDS } from "./configuration.ts";
export {
  checkValue,
  type Field,
  type Fields,
  fillValues,
  nearest,
  parseValue,
  readSomeValues,
  type Values,
} from "./field.ts";
export * as field from "./field.ts";
export { withLevels } from "./partitioner.ts";
export { findPreset, PRESETS, resolveConfiguration, type Sources } from "./resolution.ts";
