/**
 * Estimates how wide a text is without a font: as wide as in a wide sans-serif one, so that no label is cut
 * off.
 *
 * @module
 */

/** Size of the text of plots, in pixels. */
export const FONT_SIZE = 12;

/** Advances in em. */
const ADVANCES: [characters: RegExp, em: number][] = [
  [/[iljftrI.,:;'|!()[\] ]/, 0.4],
  [/[mwMW@%×→…]/, 0.97],
  [/[A-Z]/, 0.72],
  [/[ -\u04ff]/, 0.63],
];
const WIDEST = 1;

/** Estimates the width of a line of text, in pixels. */
export function textWidth(text: string, fontSize = FONT_SIZE): number {
  return Math.ceil(fontSize * [...text].reduce((sum, character) => sum + advance(character), 0));
}

const advance = (character: string): number =>
  ADVANCES.find(([characters]) => characters.test(character))?.[1] ?? WIDEST;

/** Shows nothing. */
const NOTHING = "\u200b";

/**
 * Shortens texts that are wider than a limit. Texts that would then be equal are numbered. One that is called as something that every
 * object has, such as `constructor`, gets a character that shows nothing: Vega finds names in plain objects, and would find that.
 */
export function labelsWithin(texts: readonly string[], width: number): string[] {
  const seen = new Set<string>();
  return texts.map((text) => {
    for (let copy = 1;; copy++) {
      const label = shortened(text, width, copy === 1 ? "" : ` (${copy})`);
      if (seen.has(label)) continue;
      seen.add(label);
      return label in {} ? label + NOTHING : label;
    }
  });
}

function shortened(text: string, width: number, end: string): string {
  if (textWidth(text + end) <= width) return text + end;
  const characters = [...text];
  while (characters.length > 1 && textWidth(`${characters.join("")}…${end}`) > width) characters.pop();
  return `${characters.join("").trimEnd()}…${end}`;
}
