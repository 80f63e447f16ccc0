/**
 * Models as Hugging Face folders.
 *
 * @module
 */

export {
  type Checkpoint,
  type CheckpointNotes,
  loadCheckpoint,
  loadRouters,
  type ModelFolderOptions,
  type Routers,
  saveCheckpoint,
  saveModelFolder,
} from "./checkpoint.ts";
export { type SafetensorsDtype } from "./safetensors.ts";
