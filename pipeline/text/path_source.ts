/**
 * Finds the source of a document in the path of its file.
 *
 * @module
 */

import { basename, dirname, resolve } from "node:path";
import { InputError, say, setting } from "../../kernels/errors.ts";

/** Value of the setting where paths tell no source. */
export const OFF = "off";

const NAME = "{source}";

/**
 * Gives the source that a path tells: the name of the folder that holds the file, or the text at `{source}`
 * in a pattern such as `{source}/*.txt`, which is compared with the end of the path. Throws an `InputError`
 * for a pattern without `{source}`, and where the path does not fit the pattern.
 */
export function sourceOfPath(path: string, pattern: string): string {
  const whole = resolve(path);
  if (pattern === "") return basename(dirname(whole));
  const named = setting("sourceFromPath");
  if (pattern.split(NAME).length !== 2) {
    throw new InputError(
      say`Cannot take sources from paths as ${named} must hold ${NAME} once: it is "${pattern}"`,
    );
  }
  const source = pattern.replace(/\{source\}|\*\*|[*?]|[\\^$.+()|{}[\]]/g, (text) => {
    if (text === NAME) return "([^/]+?)";
    return { "**": ".*", "*": "[^/]*", "?": "[^/]" }[text] ?? `\\${text}`;
  });
  const found = new RegExp(`(?:^|/)${source}$`, "su").exec(whole)?.[1];
  if (found !== undefined) return found;
  throw new InputError(say`Cannot take the source from "${path}" as ${named} must fit: it is "${pattern}"`, {
    where: path,
  });
}
