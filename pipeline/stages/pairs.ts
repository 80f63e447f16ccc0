/**
 * Pairs of a prompt and its response, on which models are tuned: JSON lines with `prompt` and `response`, or with `messages` of which the last
 * one is the response.
 *
 *     text/pairs/   the pairs, as text that says how much of it is the prompt
 *
 * @module
 */

import { InputError } from "../../kernels/errors.ts";
import { givenNode } from "../graph/node.ts";
import { hashFile } from "../run/files.ts";
import { isObject } from "../run/schema.ts";
import type { Configuration } from "../settings/configuration.ts";
import { type InputFile, listInputs } from "../text/inputs.ts";
import { type Document, readRecords } from "../text/readers.ts";
import { linesNode, type Text, textIn } from "./text.ts";

const PAIRS = "text/pairs";

/** Gives the text of a run of pairs; with `recorded` what was made of the files, which may be gone. */
export async function pairsText(
  run: string,
  { blockBytes }: Configuration,
  inputs: readonly string[],
  recorded: boolean,
): Promise<Text> {
  if (recorded) return await textIn(run, givenNode(PAIRS), blockBytes);
  const { files } = await listInputs(inputs, { format: "jsonl" });
  const hashes = await Promise.all(files.map(async ({ path }) => (await hashFile(path)).sha256));
  const node = linesNode(PAIRS, { pairs: hashes }, blockBytes, () => readPairs(files));
  return await textIn(run, node, blockBytes);
}

/** Reads pairs as documents. Throws an `InputError` for a line that is none. */
export async function* readPairs(files: readonly InputFile[]): AsyncGenerator<Document> {
  for (const file of files) {
    for await (const { record, place } of readRecords(file.path)) {
      const { prompt, response, source = "" } = "messages" in record ? fromMessages(record.messages) : record;
      const wrong = Object.entries({ prompt, response }).find(([, value]) =>
        typeof value !== "string" || value === ""
      );
      if (wrong) {
        const rule =
          `every line must have texts "prompt" and "response", or "messages" that end with an assistant's`;
        throw new InputError(`Cannot read pairs as ${rule}: ${place}, has no ${wrong[0]}`, {
          where: file.path,
        });
      }
      yield { text: `${prompt}${response}`, prompt: String(prompt).length, source: String(source) };
    }
  }
}

/** Joins the contents of messages by line breaks, as a chat without a template does. */
function fromMessages(messages: unknown): Record<string, unknown> {
  const all = Array.isArray(messages) ? messages.filter(isObject) : [];
  const last = all.at(-1), before = all.slice(0, -1).map(({ content }) => content);
  if (last?.role !== "assistant" || before.length === 0) return {};
  return { prompt: before.join("\n") + "\n", response: last.content };
}
