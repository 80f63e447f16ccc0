/**
 * What a site says of itself: the text of its `site.json`, which its page reads first.
 *
 * @module
 */

import * as v from "valibot";

/** Version of the layout of `site.json`. */
export const SITE_FORMAT = 1;
/** Most bytes of one file: a browser's buffers hold no more. */
export const MOST_BYTES = 2 ** 31 - 1;

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
/** A path below the site's folder: no part of it begins with a dot. */
const PATH = v.pipe(v.string(), v.regex(/^(?:\w[\w.-]*\/)*\w[\w.-]*$/));
const SHA256 = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));

/** An expert or a dense model: where its weights are, words that tell it apart, and a prompt. */
const MODEL = v.object({
  name: PATH,
  weights: PATH,
  words: v.array(v.string()),
  example: v.nullable(v.string()),
});

/**
 * What `site.json` holds: small files by their paths, as text; the others with their sizes and
 * hashes; and the experts.
 */
export const SITE = v.pipe(
  v.object({
    format: v.literal(SITE_FORMAT),
    title: v.string(),
    texts: v.record(PATH, v.string()),
    files: v.record(
      PATH,
      v.object({ bytes: v.pipe(count, v.maxValue(MOST_BYTES)), sha256: SHA256 }),
    ),
    experts: v.pipe(v.array(MODEL), v.minLength(1), v.maxLength(65_535)),
  }),
  v.forward(
    v.check(
      ({ experts, files }) => experts.every(({ weights }) => Object.hasOwn(files, weights)),
      "Expected weights that are among the files",
    ),
    ["experts"],
  ),
);

/** What `site.json` holds. */
export type Site = v.InferOutput<typeof SITE>;
