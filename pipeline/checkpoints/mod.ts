/**
 * Models as Hugging Face folders.
 *
 * @module
 */

export type { Checkpoint, CheckpointNotes } from "./hugging_face_config.ts";
export { loadCheckpoint, type ModelFolderOptions, saveCheckpoint, saveModelFolder } from "./checkpoint.ts";
export { loadRouters, type Routers } from "./routers.ts";
export { type SafetensorsDtype } from "./safetensors.ts";
