/** `POST /v1/chat/completions`: answers a conversation, by the tokenizer's template or as plain text. */

import { Template } from "@huggingface/jinja";
import { InputError } from "../../../kernels/errors.ts";
import { oneLine } from "../../run/files.ts";
import { badRequest } from "./errors.ts";
import type { ChatRequest } from "./requests.ts";
import { respond, type Shape, wantedTexts } from "./respond.ts";
import type { ChatTemplate, Exchange, Service } from "./service.ts";
import type { SpecialTokens } from "./special.ts";
import type { PlacedToken } from "./write.ts";

/** Joins the contents of messages by line breaks: what a tokenizer without a template gets. */
export const PLAIN: ChatTemplate = {
  name: "none: contents joined by line breaks",
  encode: async (messages, encode) => (await encode([messages.map(({ content }) => content).join("\n")]))[0],
};

/**
 * Renders a Jinja template, as Hugging Face's `chat_template` is; what messages spell never becomes a
 * special token. Throws an `InputError` about the file `where` it stands if it is none; a conversation that
 * it refuses is a 400.
 */
export function jinjaTemplate(source: string, special: SpecialTokens, where: string): ChatTemplate {
  const template = parse(source, where);
  return {
    name: "the tokenizer's",
    async encode(messages, encode) {
      const spelled: string[] = []; // special tokens that stand in messages, which the template shall not see
      const hide = (text: string) =>
        special.replace(text, (token) => `\uE000${spelled.push(token) - 1}\uE001`);
      const show = (text: string) =>
        text.replace(/\uE000(\d+)\uE001/g, (whole, i) => spelled[Number(i)] ?? whole);
      const context = {
        messages: messages.map(({ role, content }) => ({ role: hide(role), content: hide(content) })),
        ...{ add_generation_prompt: true, eos_token: special.eos, bos_token: special.eos },
      };
      let text: string;
      try {
        text = template.render(context);
      } catch (error) {
        const fact = `it reports "${oneLine(error)}"`;
        throw badRequest(`Cannot answer as the chat template must take the messages: ${fact}`);
      }
      return await special.encode(text, encode, show);
    },
  };
}

function parse(source: string, where: string): Template {
  try {
    return new Template(source);
  } catch (cause) {
    const what = `Cannot read "${where}" as its chat_template must be a Jinja template: ${oneLine(cause)}`;
    throw new InputError(what, { where, remedy: "mend it, or leave it out to join messages as text", cause });
  }
}

/** Answers a conversation. */
export async function chat(exchange: Exchange, request: ChatRequest): Promise<Response> {
  const { service } = exchange;
  const { admission, reader, template, tokenizer } = service;
  const { messages, n } = request;
  const most = request.max_completion_tokens ?? request.max_tokens ?? 2 ** 31;
  const places = exchange.held.use(admission.enter(n));
  const ids = await template.encode(messages, (texts) => reader.encode(texts, exchange));
  const prompt = ids.length > 0 ? ids : Uint32Array.of(tokenizer.eos);
  if (most === 0) throw badRequest("Cannot answer as max_completion_tokens must be at least 1: it is 0");
  const likeliest = request.logprobs ? request.top_logprobs : null;
  const wanted = await wantedTexts(exchange, request, [prompt], { most, likeliest });
  return await respond(exchange, request, wanted, places, chatShape(service));
}

function chatShape({ texts, template }: Service): Shape {
  const encoder = new TextEncoder();
  const reported = async (id: number, logprob: number) => {
    const token = await texts.text(id);
    return { token, logprob, bytes: [...encoder.encode(token)] };
  };
  const describeToken = async ({ id, logProbability, top }: PlacedToken) => ({
    ...await reported(id, logProbability!),
    top_logprobs: await Promise.all(top.map((one) => reported(one.id, one.logProbability))),
  });
  const logprobs = async (tokens: PlacedToken[] | null) =>
    tokens && { content: await Promise.all(tokens.map(describeToken)), refusal: null };
  return {
    id: "chatcmpl",
    object: "chat.completion",
    chunk: "chat.completion.chunk",
    fields: { chat_template: template.name },
    first: { delta: { role: "assistant", content: "" }, logprobs: null },
    async whole(content, tokens) {
      return { message: { role: "assistant", content, refusal: null }, logprobs: await logprobs(tokens) };
    },
    async piece(content, tokens) {
      return { delta: content === "" ? {} : { content }, logprobs: await logprobs(tokens) };
    },
  };
}
