/**
 * Reads pairs of a prompt and its response: JSON lines or Parquet with `prompt` and `response`, or
 * with `messages` of which the last one is the response.
 *
 * @module
 */

import { InputError } from "../../kernels/errors.ts";
import { oneLine } from "../graph/files.ts";
import { isObject } from "../graph/schema.ts";
import type { InputFile } from "./inputs.ts";
import { type Document, readRecords } from "./readers.ts";

/**
 * The chat template of pairs where there is no other: contents of messages, with a line break after
 * each that is not the last one.
 */
export const PLAIN_CHAT: string = "{% for message in messages %}{{ message['content'] }}" +
  "{% if not loop.last or add_generation_prompt %}{{ '\n' }}{% endif %}{% endfor %}";

/** Reads pairs as documents. Throws an `InputError` for a line that is none. */
export async function* readPairs(
  files: readonly InputFile[],
  template: string,
): AsyncGenerator<Document> {
  const write = await openTemplate(template);
  for (const file of files) {
    const textFile = /\.parquet$/i.test(file.path) ? undefined : file;
    for await (const { record, place } of readRecords(file.path, textFile)) {
      const { prompt, response } = "messages" in record
        ? fromMessages(record.messages, write)
        : record;
      const [wrong] = Object.entries({ prompt, response }).find(([, text]) =>
        typeof text !== "string" || text === ""
      ) ?? [];
      if (wrong) {
        const rule = `every line must have texts "prompt" and "response", or "messages" that ` +
          "end with an assistant's";
        throw new InputError(`Cannot read pairs as ${rule}: ${place}, has no ${wrong}`, {
          where: file.path,
        });
      }
      yield {
        text: `${prompt}${response}`,
        prompt: String(prompt).length,
        source: String(record.source ?? ""),
      };
    }
  }
}

/** Takes the last message as the response, and writes those before it as a prompt. */
function fromMessages(
  messages: unknown,
  write: (messages: unknown[]) => string,
): Record<string, unknown> {
  const all = Array.isArray(messages) ? messages.filter(isObject) : [];
  const last = all.at(-1);
  const earlier = all.slice(0, -1);
  return last?.role === "assistant" && earlier.length > 0
    ? { prompt: write(earlier), response: last.content }
    : {};
}

/**
 * Opens a chat template, which writes messages as a server does; as text has no special tokens, it
 * must write none.
 */
async function openTemplate(source: string): Promise<(messages: unknown[]) => string> {
  const { Template } = await import("@huggingface/jinja");
  const token = "\uE000";
  const refuse = (fact: string, cause?: unknown) =>
    new InputError(`Cannot read pairs as the chat template must write messages as text: ${fact}`, {
      cause,
    });
  const attempt = <Value>(work: () => Value): Value => {
    try {
      return work();
    } catch (error) {
      throw refuse(`it reports "${oneLine(error)}"`, error);
    }
  };
  const template = attempt(() => new Template(source));
  const special = { eos_token: token, bos_token: token };
  return (messages) => {
    const text = attempt(() =>
      template.render({ messages, add_generation_prompt: true, ...special })
    );
    if (text.includes(token)) throw refuse("it writes special tokens");
    return text;
  };
}
