/**
 * Models as Hugging Face folders.
 *
 * @module
 */

export type { Checkpoint, CheckpointNotes } from "./hugging_face_config.ts";
export { loadCheckpoint, loadRouters, type ModelFolderOptions, type Routers } from "./checkpoint.ts";
export { saveCheckpoint, saveModelFolder } from "./checkpoint.ts";
export { type SafetensorsDtype } from "./safetensors.ts";
