/**
 * Where nodes lie that many others need.
 *
 * @module
 */

/** Name of the node of the tokenizer. */
export const TOKENIZER = "tokenizer";
/** Name of its file. */
export const TOKENIZER_FILE = "tokenizer.json";
