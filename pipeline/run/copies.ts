/**
 * Copies of forgotten documents: those that a run still has, and text that is about to be added.
 *
 * @module
 */

import { InputError } from "../../kernels/errors.ts";
import type { Configuration } from "../settings/configuration.ts";
import type { DocumentRow } from "../stages/token_rows.ts";
import { readRunText, readRunTokens, tokenizerFile } from "../stages/stored_text.ts";
import { openDecoder, readTokenTexts } from "../text/decoder.ts";
import { selectDocuments } from "../stages/documents.ts";
import { sha256 } from "../graph/files.ts";
import {
  type CopyRule,
  CopySearch,
  hashPassages,
  passageFinder,
  type Passages,
  showLine,
} from "../text/near_copies.ts";
import type { Document } from "../text/readers.ts";
import type { InputFile } from "../text/inputs.ts";

/** A document that has text of a forgotten one. */
export interface Copy extends Pick<DocumentRow, "path" | "place" | "side"> {
  /** Its id. */
  document: string;
  /** Its expert, or those that share it. */
  expert: string;
  /** Whether the texts are equal byte for byte, nearly the same, or share a passage. */
  kind: "exact" | "near" | "passage";
  /** The Jaccard index of their runs of three words. */
  share: number;
  /** Path and place of the forgotten document. */
  of: Pick<DocumentRow, "path" | "place">;
}

/** The same, as it is found, with a line of what both have. */
export interface FoundCopy extends Copy {
  /** The line. It is shown and kept nowhere. */
  line: string;
}

type Row = Pick<
  DocumentRow,
  "document" | "path" | "place" | "sha256" | "side" | "expert" | "shares"
>;

/**
 * Finds the copies of documents of a run among its others, and hashes the passages of those
 * documents. Each copy is named once, with the document that it is most like. `withText` are the
 * documents that have the text of forgotten ones, these among them; other rows of the `index` are
 * read one by one.
 */
export async function findCopies(
  run: string,
  configuration: Configuration,
  index: string,
  { forgotten, withText }: Record<"forgotten" | "withText", readonly Row[]>,
  rule: CopyRule,
  knownPassages: Passages,
): Promise<{ copies: FoundCopy[]; passages: Passages }> {
  const ids = new Set(forgotten.map(({ document }) => document));
  const texts = new Map<bigint, string>();
  for await (const { document, text } of readRunText(run, configuration, ids)) {
    texts.set(document, text);
  }
  const all = forgotten.map(({ document }) => texts.get(document) ?? "");
  const rowByHash = new Map(forgotten.map((row) => [row.sha256, row]));
  const rows = new Map(withText.map((row) => [row.document, row]));
  const search = new CopySearch(all, rule);
  const decode = await openDecoder(tokenizerFile(run), configuration.eos);
  const tokenTexts = await readTokenTexts(tokenizerFile(run));
  const mayMatch = tokenTexts ? search.filterTokens(tokenTexts) : () => true;
  const matches = new Map<bigint, Pick<FoundCopy, "kind" | "share" | "of" | "line">>();
  for await (const documents of readRunTokens(run, configuration)) {
    for (const { document, tokens } of documents) {
      if (ids.has(document)) continue;
      const equal = rowByHash.get(rows.get(document)?.sha256 ?? "");
      if (!equal && !mayMatch(tokens)) continue;
      const text = await decode(tokens);
      const likeness = equal ? undefined : search.find(text);
      if (!equal && !likeness) continue;
      const { path, place } = equal ?? forgotten[likeness!.text];
      matches.set(document, {
        kind: likeness?.kind ?? "exact",
        share: likeness?.share ?? 1,
        of: {
          path,
          place,
        },
        line: showLine(text, likeness?.at ?? 0),
      });
    }
  }
  const unread = new Set(matches.keys()).difference(rows);
  for await (const row of selectDocuments(index, unread)) rows.set(row.document, row);
  const copies = Array.from(matches, ([document, match]): FoundCopy => {
    const { path, place, side, expert, shares } = rows.get(document)!;
    return {
      document: String(document),
      path,
      place,
      side,
      expert: expert === "mixed" ? shares : expert,
      ...match,
    };
  });
  return {
    copies,
    passages: hashPassages(all, rule, knownPassages),
  };
}

/**
 * Reads documents that are about to be added to a run, and counts them, so that bad files are
 * refused before anything is written. Throws an `InputError` where one is forgotten, by its hash,
 * or holds a passage of one that is.
 */
export async function checkAdded(
  files: readonly InputFile[],
  read: (file: InputFile) => AsyncIterable<Document>,
  forgotten: { hashes: ReadonlySet<string>; passages: Passages },
): Promise<number> {
  const find = passageFinder(forgotten.passages);
  let documents = 0;
  for (const file of files) {
    const { path } = file;
    let number = 0;
    for await (const { text, place } of read(file)) {
      documents++;
      const isEqual = forgotten.hashes.has(sha256(text));
      const at = isEqual ? 0 : find(text);
      const shown = place ?? number++;
      if (at < 0) continue;
      const fact = isEqual ? "has its text" : "holds a passage of it";
      const line = `"${showLine(text, at)}"`;
      const rule = `what is forgotten must stay away: number ${shown} ${fact}, ${line}`;
      throw new InputError(`Cannot add "${path}" as ${rule}`, {
        where: path,
        remedy: "leave that document out",
      });
    }
  }
  return documents;
}
