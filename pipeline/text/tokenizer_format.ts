/**
 * Finds settings of a `tokenizer.json`, and texts, that make the native library abort, and the
 * process with it, while it loads, encodes or decodes. They are refused beforehand.
 */

import { isObject } from "../graph/schema.ts";

type Part = Record<string, unknown>;

/** Lists a part of the pipeline, or the parts that it is a sequence of. */
function listParts(part: unknown): Part[] {
  if (!isObject(part)) return [];
  const inner = ["normalizers", "pretokenizers", "decoders", "processors"].flatMap((name) =>
    part[name] ?? []
  );
  return [part, ...inner.flatMap(listParts)];
}

/** Returns a pattern as text: a regular expression of Oniguruma, or plain text. */
const findPattern = ({ pattern }: Part): { Regex?: unknown; String?: unknown } =>
  isObject(pattern) ? pattern : {};

/** Returns what in a part would make the library abort, or undefined. */
function abortOfPart(part: Part): string | undefined {
  const { type, length, content, start, stop, merges, continuing_subword_prefix: prefix } = part;
  const { Regex: regex, String: text } = findPattern(part);
  if (type === "Prepend" && part.prepend === "") return "it prepends nothing";
  if (type === "Replace" && text === "") return "it replaces nothing by something";
  if (type === "Replace" && matchesNothing(regex)) {
    return `it replaces ${JSON.stringify(regex)}, which matches where nothing is`;
  }
  if (type === "FixedLength" && !(Number(length) >= 1)) return `it cuts pieces of length ${length}`;
  const isDecoder = content !== undefined;
  if (type === "Strip" && isDecoder && !(Number(start) <= 1 && Number(stop) <= 1)) {
    return `its decoder strips ${start} and ${stop} characters, and a token may have one`;
  }
  if (/(?:[*+]|\{\d*,\d*\})\??\)(?:[*+]|\{\d*,\d*\})/.test(String(regex))) {
    return `its pattern ${regex} repeats a repetition, which takes for ever`;
  }
  if (type === "Precompiled" && !isCharsmap(part.precompiled_charsmap)) {
    return "its precompiled_charsmap is damaged";
  }
  // The library takes the prefix off the right side of a merge without asking whether it is there.
  const begins = (merge: unknown) =>
    (Array.isArray(merge) ? merge : String(merge).split(" "))[1]?.startsWith?.(prefix);
  if (
    type === "BPE" && typeof prefix === "string" && Array.isArray(merges) && !merges.every(begins)
  ) {
    return `continuing_subword_prefix is "${prefix}", and a merge adds a piece without it`;
  }
}

/** Returns the setting of a tokenizer that would make the library abort, or undefined. */
export function abortingSetting(format: unknown): string | undefined {
  if (!isObject(format)) return undefined; // the library reports these itself
  const { normalizer, pre_tokenizer: cutter, decoder, model } = format;
  const parts = [
    normalizer,
    cutter,
    decoder,
    isObject(model) ? { type: "BPE", ...model } : undefined,
  ];
  return parts.flatMap(listParts).map(abortOfPart).find((fact) => fact !== undefined);
}

/**
 * Returns whether a character map of SentencePiece is whole: the size of a trie, the trie, and the
 * texts in UTF-8 that its leaves point to. Format: darts-clone,
 * https://github.com/s-yata/darts-clone
 */
function isCharsmap(base64: unknown): boolean {
  try {
    const bytes = Uint8Array.fromBase64(String(base64));
    const view = new DataView(bytes.buffer);
    const size = view.getUint32(0, true);
    const texts = bytes.subarray(4 + size);
    new TextDecoder("utf-8", { fatal: true }).decode(texts);
    const trie = new DataView(bytes.buffer, 4, size); // throws where one reads beyond it
    const unitAt = (at: number) => trie.getUint32(4 * (at >>> 0), true);
    const childrenStart = (at: number, unit = unitAt(at)) =>
      at ^ (unit >>> 10) << ((unit & 1 << 9) >>> 6);
    const nodes = new Set([childrenStart(0)]); // grows while it is gone through
    for (const node of nodes) {
      for (let byte = 1; byte < 256; byte++) {
        const at = node ^ byte;
        const unit = unitAt(at);
        if ((unit & (1 << 31 | 0xff)) !== byte) continue;
        nodes.add(childrenStart(at));
        const text = texts[unitAt(childrenStart(at)) & 0x7fffffff] ?? 0x80;
        // Beyond the texts, or inside a character.
        if ((unit >>> 8 & 1) === 1 && text >> 6 === 2) return false;
      }
    }
    return true;
  } catch {
    return false;
  }
}

/**
 * Returns whether a pattern surely matches an empty text. One that only Oniguruma can read is taken
 * to match none.
 */
function matchesNothing(regex: unknown): boolean {
  try {
    return typeof regex === "string" && new RegExp(regex, "u").test("");
  } catch {
    return false;
  }
}

/** Returns whether a tokenizer cuts or rewrites text by patterns of its own. */
export function hasPatterns({ normalizer, pre_tokenizer: cutter }: Part): boolean {
  return [normalizer, cutter].flatMap(listParts).some((part) =>
    typeof findPattern(part).Regex === "string"
  );
}

/**
 * Most characters of one kind in a row. Oniguruma gives up after ten million tries at one place,
 * and the library aborts: patterns of known tokenizers, such as `\s*[\r\n]+`, try once for each of
 * them.
 */
const LONGEST_RUN = 5_000_000;
const KINDS = ["other characters", "letters", "digits", "white space", "characters beyond U+FFFF"];
let kindOfUnit: Uint8Array | undefined;

/** Returns what in a text would make a tokenizer's patterns abort, or undefined. */
export function abortOfText(text: string): string | undefined {
  if (text.length <= LONGEST_RUN) return undefined;
  kindOfUnit ??= Uint8Array.from({ length: 1 << 16 }, (_, unit) => {
    if (unit >= 0xd800 && unit < 0xe000) return 4;
    const character = String.fromCharCode(unit);
    return [/./su, /[\p{L}\p{M}]/u, /\p{N}/u, /\s/u].findLastIndex((kind) => kind.test(character));
  });
  for (let at = 0, begin = 0; at < text.length; at++) {
    const kind = kindOfUnit[text.charCodeAt(at)];
    if (kind !== kindOfUnit[text.charCodeAt(begin)]) begin = at;
    if (at - begin >= LONGEST_RUN) return `it has more than ${LONGEST_RUN} ${KINDS[kind]} in a row`;
  }
}
