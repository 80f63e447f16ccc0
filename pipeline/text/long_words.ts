/**
 * Cuts words for which a trainer of BPE would take minutes: its time grows with the square of the length of a
 * word.
 */

/** Most UTF-16 units of a word that is trained on. */
export const LONGEST_WORD = 10_000;

const LETTER = 1, DIGIT = 2, SPACE = 4, SIGN = 8;

/**
 * Gives the kind of a UTF-16 unit. Half of a surrogate pair may be of any kind but white space, as the half
 * alone does not tell.
 */
function kindAt(text: string, at: number): number {
  const unit = text.charCodeAt(at);
  if (unit >= 0xd800 && unit <= 0xdfff) return LETTER | DIGIT | SIGN;
  const character = text[at];
  return /\s/.test(character)
    ? SPACE
    : /\p{L}/u.test(character)
    ? LETTER
    : /\p{N}/u.test(character)
    ? DIGIT
    : SIGN;
}

/**
 * Keeps the first 10,000 units of every run of letters, digits, signs or white space; GPT-2's pattern ends a
 * word there too. A text without longer runs comes back as it is.
 */
export function cutLongWords(text: string, longest = LONGEST_WORD): string {
  const parts: string[] = [];
  let from = 0; // start of the text that is not yet copied
  // A run of more than `longest` units holds one of these places.
  for (let probe = longest; probe < text.length; probe += longest) {
    let kind = kindAt(text, probe), begin = probe, end = probe + 1;
    for (let at; begin > from && (at = kind & kindAt(text, begin - 1)) !== 0; begin--) kind = at;
    for (let at; end < text.length && (at = kind & kindAt(text, end)) !== 0; end++) kind = at;
    if (end - begin <= longest) continue;
    const isPair = /[\ud800-\udbff]/.test(text[begin + longest - 1]);
    parts.push(text.slice(from, begin + longest - (isPair ? 1 : 0)));
    from = end;
    probe = Math.floor(end / longest) * longest;
  }
  return from === 0 ? text : parts.join("") + text.slice(from);
}
