/**
 * Where nodes lie that many others need.
 *
 * @module
 */

export { TOKENIZER, TOKENIZER_FILE } from "../graph/places.ts";
