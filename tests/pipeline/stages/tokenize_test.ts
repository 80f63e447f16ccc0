import { assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { TOKENIZER_FILE } from "../../../pipeline/graph/node.ts";
import { sha256 } from "../../../pipeline/graph/files.ts";
import { sequencesNode, tokenizeNodes, tokenizerNodes } from "../../../pipeline/stages/tokenize.ts";
import { readDocumentRows } from "../../../pipeline/stages/token_rows.ts";
import { chooseSide } from "../../../pipeline/text/tokenize.ts";
import { loadTokenizer } from "../../../pipeline/text/tokenizer.ts";
import { inFolder } from "../../tasks/support.ts";
import { byteTokenizer } from "../serving/support.ts";
import { makeNodes, readColumns, textGraph, tokenizerNode } from "./support.ts";

const TEXTS = Array.from({ length: 12 }, (_, i) => ({
  text: `Document number ${i} of twelve.`,
  source: i % 3 ? "some" : "other",
}));
const HOLDOUT = 0.4;

Deno.test("tokenize cuts each document into sequences of its side, and lists it in a table", () =>
  inFolder(async (run) => {
    const of = await textGraph(run, TEXTS, { holdout: HOLDOUT, experts: 1 });
    const nodes = tokenizeNodes(of);
    assertEquals(nodes.length, 1);
    const [{ name }] = nodes;
    const manifest = await makeNodes(run, [tokenizerNode(), ...nodes, sequencesNode(of)]);
    const { encode, eos } = await byteTokenizer();
    const ids = await encode(TEXTS.map(({ text }) => text));
    const sides = TEXTS.map(({ text }) => chooseSide(text, of.configuration.seed, HOLDOUT));
    for (const side of ["train", "test"] as const) {
      const batches = await readColumns(`${run}/${name}/${side}.arrow`);
      // Real tokens of all sequences, one after another: documents with EOS after each.
      const tokens = batches.flatMap(({ rows, tokens, length }) =>
        Array.from({ length: rows }, (_, row) => [
          ...tokens!.subarray(8 * row, 8 * row + length[row]),
        ]).flat()
      );
      const wanted = ids.flatMap((own, i) => sides[i] === side ? [...own, eos] : []);
      assertEquals(tokens, wanted.slice(0, tokens.length));
      const { result } = await manifest(name);
      const all = batches.reduce((sum, { rows }) => sum + rows, 0);
      assertEquals(result[`${side}Sequences`], all);
      // What is left of the last document fills no sequence.
      assertEquals(wanted.length - tokens.length < 8, true);
    }
    const table = await Array.fromAsync(
      readDocumentRows(`${run}/${name}/documents.arrow`, [
        "place",
        "sha256",
        "source",
        "side",
        "tokens",
      ]),
    );
    assertEquals(
      table,
      TEXTS.map(({ text, source }, i) => ({
        place: i + 1, // its line
        sha256: sha256(text),
        source,
        side: sides[i],
        tokens: ids[i].length + 1,
      })),
    );
  }));

Deno.test("tokenize refuses a text that is to stay away, and names its place", () =>
  inFolder(async (run) => {
    const of = await textGraph(run, TEXTS, { experts: 1 });
    const nodes = tokenizeNodes({ ...of, away: [sha256(TEXTS[7].text)] });
    await assertRejects(
      () => makeNodes(run, [tokenizerNode(), ...nodes]),
      InputError,
      "number 8 has its text",
    );
  }));

Deno.test("the tokenizer learns from training documents alone", () =>
  inFolder(async (run) => {
    const texts = Array.from({ length: 40 }, (_, i) => {
      const text = `${i} `.repeat(3);
      const word = chooseSide(text, 0, HOLDOUT) === "train" ? "ab" : "yz";
      return { text: word.repeat(50) + text };
    });
    const sides = texts.map(({ text }) => chooseSide(text, 0, HOLDOUT));
    // A text's side depends on all of it, so some held-out texts hold "ab", and some others "yz".
    const held = texts.map(({ text }, i) => ({
      text: sides[i] === "test" ? text.replaceAll(/ab|yz/g, "qx") : text,
    })).filter(({ text }, i) => chooseSide(text, 0, HOLDOUT) === sides[i]);
    const of = await textGraph(run, held, { holdout: HOLDOUT, vocabularySize: 262, experts: 1 });
    await makeNodes(run, await tokenizerNodes(of));
    const { encode } = await loadTokenizer(`${run}/tokenizer/${TOKENIZER_FILE}`);
    const counts = await encode(["abababab", "yzyzyzyz", "qxqxqxqx"]);
    assertEquals(counts.map(({ length }) => length < 8), [true, true, false]);
  }));
