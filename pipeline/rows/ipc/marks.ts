/**
 * What this project writes into the metadata of Arrow data, so that damage is found which the format itself does not show.
 *
 * @module
 */

/** In a schema's metadata: a batch without rows closes the stream. That batch says in its own metadata what came before it. */
export const ANNOUNCED = "smalltalk.closing";
/** In a closing batch's metadata: the rows that came before it. */
export const CLOSING_ROWS = "smalltalk.rows";
/** In a closing batch's metadata: the SHA-256 of what came before it, the schema's message included. */
export const CLOSING_SHA256 = "smalltalk.sha256";
