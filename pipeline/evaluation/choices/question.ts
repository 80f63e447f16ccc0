/** A question of a zero-shot task: a text, and what may follow it. */

/** A question. */
export interface Question {
  /** What stands once before everything; "" for nothing. */
  description: string;
  /** The text that the choices follow; "" for none. */
  context: string;
  /** What may follow; a task without choices has the right one alone. */
  choices: readonly string[];
  /** What stands between the text and a choice. */
  delimiter: string;
  /** Index of the right choice. */
  gold: number;
  /** The set of the task that it belongs to, such as a subject; "" where there are none. */
  set: string;
}

/** Gives what follows the context: a choice after what separates them. */
export function continuationsOf({ choices, delimiter }: Question): string[] {
  return choices.map((choice) => delimiter + choice);
}

/** Gives the text that a question's choices follow: the description, the examples with their right choices, and its own context. */
export function contextOf({ description, context }: Question, examples: readonly Question[] = []): string {
  const shown = examples.map((example) => example.context + continuationsOf(example)[example.gold]);
  return description + [...shown, context].join("\n\n");
}
