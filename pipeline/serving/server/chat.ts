/** `POST /v1/chat/completions`: answers a conversation, by the tokenizer's template or as plain text. */

import { Template } from "@huggingface/jinja";
import { InputError } from "../../../kernels/errors.ts";
import { oneLine } from "../../run/files.ts";
import type { Tokenizer } from "../../text/tokenizer.ts";
import { seedOf } from "./completions.ts";
import { badRequest } from "./errors.ts";
import type { PlacedToken } from "./log_probabilities.ts";
import type { ChatRequest } from "./requests.ts";
import { respond, type Shape } from "./respond.ts";
import { type Exchange, findTargets, roomOf, type Service } from "./service.ts";

/** How conversations become prompts. */
export interface ChatTemplate {
  /** What answers say of it. */
  name: string;
  /** Gives the ids of a conversation's prompt; `encode` encodes the texts that it consists of. */
  encode(messages: readonly Message[], encode?: Tokenizer["encode"]): Promise<Uint32Array>;
}

interface Message {
  role: string;
  content: string;
}

/** Joins the contents of messages by line breaks: what a tokenizer without a template gets. */
export function plainTemplate(tokenizer: Tokenizer): ChatTemplate {
  return {
    name: "none: contents joined by line breaks",
    async encode(messages, encode = tokenizer.encode) {
      const [ids] = await encode([messages.map(({ content }) => content).join("\n")]);
      return ids.length > 0 ? ids : Uint32Array.of(tokenizer.eos);
    },
  };
}

/**
 * Renders a Jinja template, as Hugging Face's `chat_template` is; what messages spell never becomes a
 * special token. Throws an `InputError` about the file `where` it stands if it is none; a conversation that
 * it refuses is a 400.
 */
export function jinjaTemplate(
  source: string,
  tokenizer: Tokenizer,
  where = "tokenizer_config.json",
): ChatTemplate {
  const template = parse(source, where);
  const { added_tokens: added = [] }: { added_tokens?: { id: number; content: string; special: boolean }[] } =
    JSON
      .parse(tokenizer.json);
  const special = added.filter(({ special }) => special);
  const numbers = new Map(special.map(({ content }, i) => [content, i]));
  const any = special.map(({ content }) => RegExp.escape(content)).join("|") || "(?!)"; // which is nowhere
  const marks = new RegExp(`(${any})`, "g");
  const hide = (text: string) => text.replace(marks, (content) => `\uE000${numbers.get(content)}\uE001`);
  const show = (text: string) =>
    text.replace(/\uE000(\d+)\uE001/g, (whole, i) => special[Number(i)]?.content ?? whole);
  const eos = special.find(({ id }) => id === tokenizer.eos)?.content;
  return {
    name: "the tokenizer's",
    async encode(messages, encode = tokenizer.encode) {
      const hidden = messages.map(({ role, content }) => ({ role: hide(role), content: hide(content) }));
      const context = { messages: hidden, add_generation_prompt: true, eos_token: eos, bos_token: eos };
      const pieces = render(template, context).split(marks); // texts, with a special token between two
      const texts = await encode(pieces.filter((_, i) => i % 2 === 0).map(show));
      const ids = texts.flatMap((text, i) => {
        const next = pieces[2 * i + 1];
        return next === undefined ? [...text] : [...text, special[numbers.get(next)!].id];
      });
      return Uint32Array.from(ids.length > 0 ? ids : [tokenizer.eos]);
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

function render(template: Template, context: Record<string, unknown>): string {
  try {
    return template.render(context);
  } catch (error) {
    throw badRequest(
      `Cannot answer as the chat template must take the messages: it says "${oneLine(error)}"`,
    );
  }
}

/** Answers a conversation. */
export async function chat(
  service: Service,
  template: ChatTemplate,
  request: ChatRequest,
  exchange: Exchange,
): Promise<Response> {
  const messages = request.messages.map(({ role, content }) => ({
    role,
    content: typeof content === "string" ? content : content.map(({ text }) => text).join(""),
  }));
  const each = request.n ?? 1;
  using entered = new DisposableStack();
  const places = entered.use(service.admission.enter(each));
  const { signal } = exchange;
  const room = () => roomOf(service, request.model);
  const prompt = await template.encode(
    messages,
    (texts) => service.reader.encode(texts, { signal, room, together: true }),
  );
  const [target] = await findTargets(service, request.model, [prompt], request);
  const seed = seedOf(request.seed);
  const most = request.max_completion_tokens ?? request.max_tokens ?? 2 ** 31;
  if (most === 0) throw badRequest("Cannot answer as max_completion_tokens must be at least 1: it is 0");
  const likeliest = request.logprobs ? request.top_logprobs ?? 0 : null;
  const wanted = Array.from({ length: each }, (_, j) => ({
    ...{ target, prompt, seed: seed + j, most, likeliest, offset: 0 },
  }));
  entered.move(); // `respond` gives them back
  return await respond(service, request, wanted, prompt.length, places, shapeOf(service, template), exchange);
}

function shapeOf({ texts }: Service, { name }: ChatTemplate): Shape {
  const encoder = new TextEncoder();
  const told = async (id: number, logprob: number) => {
    const token = await texts.text(id);
    return { token, logprob, bytes: [...encoder.encode(token)] };
  };
  const logprobs = async (tokens: PlacedToken[] | null) =>
    tokens && {
      content: await Promise.all(tokens.map(async ({ id, logProbability, top }) => ({
        ...await told(id, logProbability!),
        top_logprobs: await Promise.all(top.map((one) => told(one.id, one.logProbability))),
      }))),
      refusal: null,
    };
  return {
    id: "chatcmpl",
    object: "chat.completion",
    chunk: "chat.completion.chunk",
    fields: { chat_template: name },
    first: { delta: { role: "assistant", content: "" }, logprobs: null },
    async whole(content, tokens) {
      return { message: { role: "assistant", content, refusal: null }, logprobs: await logprobs(tokens) };
    },
    async piece(content, tokens) {
      return { delta: content === "" ? {} : { content }, logprobs: await logprobs(tokens) };
    },
  };
}
