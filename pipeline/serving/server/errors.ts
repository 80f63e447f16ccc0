/** Errors as OpenAI's clients read them. */

import { ExplainedError } from "../../../kernels/errors.ts";
import { RoomError } from "../leases.ts";
import { RequestError } from "../mixing.ts";
import { TextRefusedError } from "../../text/tokenizer.ts";

/** An error that a client gets. */
export class ApiError extends Error {
  /** Describes an error: its HTTP status, OpenAI's code for it, and headers to send along. */
  constructor(
    readonly status: number,
    message: string,
    readonly code: string | null = null,
    readonly headers: Record<string, string> = {},
  ) {
    super(message);
    this.name = "ApiError";
  }
}

/** Reports that what was asked is wrong. */
export const badRequest = (message: string, code: string | null = null) =>
  new ApiError(400, message, code);

/** Throws a 400 unless something holds of what was asked. */
export function ensureAsked(holds: unknown, message: string): asserts holds {
  if (!holds) throw badRequest(message);
}

/** Reports that something cannot be had now. */
export const unavailable = (message: string, code: string | null = null) =>
  new ApiError(503, message, code, { "retry-after": "5" });

/**
 * Turns what was thrown into what a client gets. What the server's own files or machine lack is a
 * 503 without their text.
 */
export function apiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  if (error instanceof TextRefusedError || error instanceof RequestError) {
    return badRequest(error.message);
  }
  if (error instanceof RoomError) {
    return badRequest(
      "Cannot answer as the models that are asked for must fit the server together: they do not",
    );
  }
  if (error instanceof ExplainedError) return unavailable(missing(error), "model_unavailable");
  return new ApiError(
    500,
    "Cannot answer as the server must be free of bugs: its log has more",
    "bug",
  );
}

/**
 * Reports what an error of the server means for clients: its own text tells of files, and is for
 * the log.
 */
function missing({ where = "" }: ExplainedError): string {
  const [, expert] = /^.*[/\\]experts[/\\]expert-(\d+)(?:[/\\]|$)/s.exec(where) ?? [];
  const missingPart = expert === undefined
    ? "what the server needs for it"
    : `expert ${Number(expert)}`;
  return `Cannot answer as ${missingPart} must be available: it is not`;
}

const MOST_REPEATED = 200; // most characters that a message repeats of what a client sent

/** Shortens what a client sent for a message. */
export const shortened = (text: string): string =>
  text.length <= MOST_REPEATED ? text : `${text.slice(0, MOST_REPEATED).toWellFormed()}…`;

const TYPES: Record<number, string> = { 401: "authentication_error", 429: "rate_limit_error" };

/** The body of an error, in OpenAI's form. */
export function errorBody({ status, message, code }: ApiError): { error: Record<string, unknown> } {
  const type = TYPES[status] ?? (status < 500 ? "invalid_request_error" : "server_error");
  return { error: { message, type, param: null, code } };
}

/** The answer that tells an error. */
export function errorResponse(error: ApiError): Response {
  return Response.json(errorBody(error), { status: error.status, headers: error.headers });
}
