/**
 * The footer of an Arrow file, which has the schema again and tells where each batch lies. Damage
 * to either of two copies shows by the other one.
 *
 * @module
 */

import type { Schema } from "apache-arrow/Arrow.dom";
import { Footer } from "apache-arrow/ipc/metadata/file";
import type { InputError } from "../../../kernels/errors.ts";
import { unreadable } from "../../graph/files.ts";
import { orUnreadable } from "./library.ts";

/** The bytes with which an Arrow file begins and ends. */
export const MAGIC: Uint8Array = new TextEncoder().encode("ARROW1");
/** Bytes after a footer: its length and the magic. */
export const ENDING = 4 + MAGIC.length;

/** Where a message lies in its file, with the names of the library. */
interface MessagePlace {
  offset: number;
  metaDataLength: number; // with its prefix
  bodyLength: number;
}

/** What comes before the footer of a file. */
export interface FileContents {
  schema?: Schema; // some writers have it in the footer alone
  batches: MessagePlace[];
  dictionaries: MessagePlace[];
}

/** Returns whether bytes begin as an Arrow file begins and ends. */
export const isMagic = (bytes: Uint8Array): boolean =>
  bytes.length >= MAGIC.length && MAGIC.every((byte, i) => byte === bytes[i]);

/** Length of the footer of a file that ends with these bytes; 0 where it has none. */
export function footerLength(ending: Uint8Array): number {
  if (ending.length < ENDING || !isMagic(ending.subarray(-MAGIC.length))) return 0;
  const view = new DataView(ending.buffer, ending.byteOffset + ending.length - ENDING);
  return Math.max(0, view.getInt32(0, true));
}

/** Throws where a file's footer tells of another schema or other batches than come before it. */
export function checkFooter(name: string, footer: Uint8Array, contents: FileContents): void {
  const { schema, batches, dictionaries } = orUnreadable(name, () => {
    const decoded = Footer.decode(footer);
    return {
      schema: decoded.schema,
      batches: [...decoded.recordBatches()],
      dictionaries: [...decoded.dictionaryBatches()],
    };
  });
  if (contents.schema && describeSchema(contents.schema) !== describeSchema(schema)) {
    throw otherFooter(name, "its schema is another one");
  }
  checkPlaces(name, "batches", batches, contents.batches);
  checkPlaces(name, "dictionaries", dictionaries, contents.dictionaries);
}

function checkPlaces(
  name: string,
  kind: string,
  listed: readonly MessagePlace[],
  read: readonly MessagePlace[],
): void {
  if (listed.length !== read.length) {
    throw otherFooter(name, `it tells of ${listed.length} ${kind}, there are ${read.length}`);
  }
  for (const [i, { offset, metaDataLength, bodyLength }] of listed.entries()) {
    const place = read[i];
    const isSame = offset === place.offset && metaDataLength === place.metaDataLength &&
      bodyLength === place.bodyLength;
    if (!isSame) throw otherFooter(name, `it tells of other ${kind}`);
  }
}

function otherFooter(name: string, fact: string): InputError {
  return unreadable(name, "its footer must tell what comes before it", `${fact}; it is damaged`);
}

/** Describes a schema with all that the library knows of its types. */
const describeSchema = ({ fields, metadata }: Schema): string =>
  JSON.stringify(
    { fields, metadata },
    (_, value) => value instanceof Map ? [...value].sort() : value,
  );
