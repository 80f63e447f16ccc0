/**
 * Finds settings of a `tokenizer.json`, and texts, that make the native library abort, and the process with it,
 * while it loads, encodes or decodes. They are refused beforehand.
 */

type Part = Record<string, unknown>;

const isPart = (value: unknown): value is Part =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Lists a part of the pipeline, or the parts that it is a sequence of. */
function partsOf(part: unknown): Part[] {
  if (!isPart(part)) return [];
  const inner = ["normalizers", "pretokenizers", "decoders", "processors"].flatMap((name) =>
    part[name] ?? []
  );
  return [part, ...inner.flatMap(partsOf)];
}

/** Says which setting of a tokenizer makes the library abort; undefined where none is known. */
export function abortOf(format: unknown): string | undefined {
  if (!isPart(format)) return undefined; // the library reports these itself
  const { normalizer, pre_tokenizer: cutter, decoder, model } = format;
  const facts = [
    ...partsOf(normalizer).map(abortOfReplacing),
    ...[normalizer, cutter, decoder].flatMap(partsOf).map(abortOfPart),
  ];
  const fact = facts.find((fact) => fact !== undefined);
  if (fact) return fact;
  return isPart(model) ? abortOfMerges(model) : undefined;
}

const utf8 = new TextEncoder();

/**
 * The merge of a later part of a word removes the prefix from its right side without asking whether that has
 * one.
 */
function abortOfMerges(
  { continuing_subword_prefix: prefix, merges, type = "BPE" }: Part,
): string | undefined {
  if (type !== "BPE" || typeof prefix !== "string" || prefix === "" || !Array.isArray(merges)) {
    return undefined;
  }
  const length = utf8.encode(prefix).length;
  for (const merge of merges) {
    const right = String(Array.isArray(merge) ? merge[1] : String(merge).split(" ")[1]);
    const bytes = utf8.encode(right);
    const isWhole = bytes.length >= length && (bytes[length] ?? 0) >> 6 !== 2; // 2: inside a character
    if (!isWhole) {
      return `continuing_subword_prefix is "${prefix}", and a merge adds "${right}", which is shorter`;
    }
  }
}

/** A normalizer must not put text where there is none. */
function abortOfReplacing({ type, pattern, prepend }: Part): string | undefined {
  const { Regex: regex, String: string } = isPart(pattern) ? pattern : {} as Part;
  if (type === "Prepend" && prepend === "") return "it prepends nothing";
  if (type !== "Replace") return undefined;
  if (string === "") return "it replaces nothing by something";
  const isEmpty = typeof regex === "string" && matchesNothing(regex);
  return isEmpty ? `it replaces ${JSON.stringify(regex)}, which matches where nothing is` : undefined;
}

const REPEATED_REPETITION = /(?:[*+]|\{\d*,\d*\})\??\)(?:[*+]|\{\d*,\d*\})/;

/** Gives the pattern of a part that Oniguruma reads; undefined where it has none. */
function regexOf({ pattern }: Part): string | undefined {
  const { Regex: regex } = isPart(pattern) ? pattern : {} as Part;
  return typeof regex === "string" ? regex : undefined;
}

/** Says whether a tokenizer cuts or rewrites text by patterns of its own. */
export function hasPatterns({ normalizer, pre_tokenizer: cutter }: Part): boolean {
  return [normalizer, cutter].flatMap(partsOf).some((part) => regexOf(part) !== undefined);
}

/**
 * Most characters of one kind in a row. Oniguruma gives up after ten million tries at one place, and the library
 * aborts: patterns of known tokenizers, such as `\s*[\r\n]+`, try once for each of them.
 */
const LONGEST_RUN = 5_000_000;
const KINDS = ["other characters", "letters", "digits", "white space", "characters beyond U+FFFF"];
let kindOfUnit: Uint8Array | undefined;

/** Says what in a text makes patterns of a tokenizer abort; undefined where nothing does. */
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

function abortOfPart(part: Part): string | undefined {
  const { type, content } = part;
  const regex = regexOf(part);
  if (type === "FixedLength" && !(Number(part.length) >= 1)) return `it cuts pieces of length ${part.length}`;
  if (type === "Strip" && content !== undefined && !(Number(part.start) <= 1 && Number(part.stop) <= 1)) {
    return `its decoder strips ${part.start} and ${part.stop} characters, and a token may have one`;
  }
  if (regex !== undefined && REPEATED_REPETITION.test(regex)) {
    return `its pattern ${regex} repeats a repetition, which takes for ever`;
  }
  if (type === "Precompiled") {
    const fact = abortOfCharsmap(part.precompiled_charsmap);
    if (fact) return `its precompiled_charsmap ${fact}`;
  }
}

/**
 * Says whether a pattern surely matches an empty text. A pattern that only Oniguruma can read is taken to
 * match none.
 */
function matchesNothing(regex: string): boolean {
  try {
    return new RegExp(regex, "u").test("");
  } catch {
    return false;
  }
}

/**
 * Walks the whole character map of SentencePiece: after its size come the bytes of a trie, then the texts
 * that its leaves point to. Format: darts-clone, https://github.com/s-yata/darts-clone
 */
function abortOfCharsmap(base64: unknown): string | undefined {
  let bytes: Uint8Array;
  try {
    bytes = Uint8Array.fromBase64(String(base64));
  } catch {
    return "is not base64";
  }
  const view = new DataView(bytes.buffer);
  const size = bytes.length >= 4 ? view.getUint32(0, true) : -1;
  if (size < 4 || size % 4 !== 0 || size > bytes.length - 4) return "is cut short";
  const units = Uint32Array.from({ length: size / 4 }, (_, i) => view.getUint32(4 + 4 * i, true));
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes.subarray(4 + size));
  } catch {
    return "is not UTF-8";
  }
  const starts = new Set<number>(); // offsets of characters, in bytes
  let offset = 0;
  for (const character of text) {
    starts.add(offset);
    offset += utf8.encode(character).length;
  }
  const offsetOf = (unit: number) => (unit >>> 10) << ((unit & (1 << 9)) >>> 6);
  const seen = new Set<number>();
  const waiting = [offsetOf(units[0])];
  for (let node = waiting.pop(); node !== undefined; node = waiting.pop()) {
    if (seen.has(node)) continue;
    seen.add(node);
    for (let byte = 1; byte < 256; byte++) {
      const at = (node ^ byte) >>> 0;
      if (at >= units.length) return "points out of itself";
      const unit = units[at];
      if ((unit & ((1 << 31) | 0xff)) !== byte) continue;
      const next = (at ^ offsetOf(unit)) >>> 0;
      if ((unit >>> 8 & 1) === 1) {
        if (next >= units.length || !starts.has(units[next] & 0x7fffffff)) return "points out of its texts";
      }
      waiting.push(next);
    }
  }
}
