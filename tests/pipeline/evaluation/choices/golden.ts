/** The requests that the LM Evaluation Harness makes of documents in each data set's own fields (fixtures/golden/README.md). */

/** A document, and what the harness makes of it. */
export interface GoldenRequest {
  doc: Record<string, unknown>;
  context: string;
  continuations: string[];
  normalise_by_characters?: number[];
  gold: number;
}

/** A document with examples before it. */
export interface GoldenExamples extends Omit<GoldenRequest, "gold"> {
  examples: Record<string, unknown>[];
}

const { few_shot, ...tasks } = JSON.parse(
  Deno.readTextFileSync(new URL("../../../../fixtures/golden/zero_shot/requests.json", import.meta.url)),
);

/** Requests by task. */
export const GOLDEN: Record<string, GoldenRequest[]> = tasks;
/** Requests with examples, by task and number of examples. */
export const FEW_SHOT: Record<string, GoldenExamples> = few_shot;
