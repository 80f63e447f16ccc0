/** A question of a zero-shot task: a text, and what may follow it. */

/** A question. */
export interface Question {
  /** Text that stands once before everything; "" for none. */
  description: string;
  /** The text that the choices follow; "" for none. */
  context: string;
  /** The choices. A task without choices has only the right answer. */
  choices: readonly string[];
  /** Text between context and choice. */
  delimiter: string;
  /** Index of the right choice. */
  gold: number;
  /** The set of the task that it belongs to, such as a subject; "" where there are none. */
  set: string;
  /** The document that it was made of, where several questions are made of one. */
  document?: number;
}

/** Gives the text that follows the context: the separator and a choice. */
export function continuationsOf({ choices, delimiter }: Question): string[] {
  return choices.map((choice) => delimiter + choice);
}

/** Gives the text that a question's choices follow: the description, the examples with their right choices, and its own context. */
export function contextOf({ description, context }: Question, examples: readonly Question[] = []): string {
  const shown = examples.map((example) => example.context + continuationsOf(example)[example.gold]);
  return description + [...shown, context].join("\n\n");
}
