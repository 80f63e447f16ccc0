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
import { hashFile, oneLine } from "../run/files.ts";
import { isObject } from "../run/schema.ts";
import type { Configuration } from "../settings/configuration.ts";
import { type InputFile, listInputs } from "../text/inputs.ts";
import { type Document, readRecords } from "../text/readers.ts";
import type { Derivation } from "./derivation.ts";
import { linesNode, type Text, textIn } from "./text.ts";

const PAIRS = "text/pairs";

/** Gives the text of a run of pairs; with `recorded` what was made of the files, which may be gone. */
export async function pairsText(
  run: string,
  { blockBytes }: Configuration,
  { added, template }: Derivation,
  recorded: boolean,
): Promise<Text> {
  if (recorded) return await textIn(run, givenNode(PAIRS), blockBytes);
  const { files } = await listInputs(added, { format: "jsonl" });
  const hashes = await Promise.all(files.map(async ({ path }) => (await hashFile(path)).sha256));
  const node = linesNode(PAIRS, { pairs: hashes, template }, blockBytes, () => readPairs(files, template));
  return await textIn(run, node, blockBytes);
}

/** Reads pairs as documents. Throws an `InputError` for a line that is none. */
export async function* readPairs(files: readonly InputFile[], template: string): AsyncGenerator<Document> {
  const write = await openTemplate(template);
  for (const file of files) {
    for await (const { record, place } of readRecords(file.path)) {
      const { prompt, response, source = "" } = "messages" in record
        ? fromMessages(record.messages, write)
        : record;
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

/** The chat template of pairs where there is no other: contents of messages, with a line break after each that is not the last one. */
export const PLAIN_CHAT = "{% for message in messages %}{{ message['content'] }}" +
  "{% if not loop.last or add_generation_prompt %}{{ '\n' }}{% endif %}{% endfor %}";

/** Takes the last message as the response, and writes those before it as a prompt. */
function fromMessages(messages: unknown, write: (messages: unknown[]) => string): Record<string, unknown> {
  const all = Array.isArray(messages) ? messages.filter(isObject) : [];
  const last = all.at(-1), before = all.slice(0, -1);
  return last?.role === "assistant" && before.length > 0
    ? { prompt: write(before), response: last.content }
    : {};
}

/** Opens a chat template, which writes messages as a server does; as text has no special tokens, it must write none. */
async function openTemplate(source: string): Promise<(messages: unknown[]) => string> {
  const { Template } = await import("@huggingface/jinja"), token = "\uE000";
  const refuse = (fact: string, cause?: unknown) =>
    new InputError(`Cannot read pairs as the chat template must write messages as text: ${fact}`, { cause });
  const attempt = <Value>(work: () => Value): Value => {
    try {
      return work();
    } catch (error) {
      throw refuse(`it reports "${oneLine(error)}"`, error);
    }
  };
  const template = attempt(() => new Template(source)), special = { eos_token: token, bos_token: token };
  return (messages) => {
    const text = attempt(() => template.render({ messages, add_generation_prompt: true, ...special }));
    if (text.includes(token)) throw refuse("it writes special tokens");
    return text;
  };
}
