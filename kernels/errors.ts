/**
 * Errors that explain themselves: what is wrong, where, and how to mend it, as data. A script reads
 * `message`. The command line words the same data for its user: `tasks/cli/wording.ts` writes
 * settings as flags and tasks as commands.
 *
 * @module
 */

/**
 * Names a setting or an option, for instance `sequenceLength`: a command line words it as its flag.
 */
export interface SettingReference {
  /** The name of the setting. */
  setting: string;
  /** The value that the text proposes. */
  value?: string | number;
}

/** Names a task to run, for instance `train-expert`: a command line words it as its command. */
export interface TaskReference {
  /** The name of the task. */
  task: string;
  /** Its settings and options by name; `true` for an option without a value. */
  with: Record<string, string | number | boolean | undefined>;
}

/** Words a setting or a task. */
export type Words = (reference: SettingReference | TaskReference) => string;

/** Text in which settings and tasks are named rather than spelled. */
export type Text = string | readonly (string | SettingReference | TaskReference)[];

/** Names a setting or option inside {@link say}. */
export function setting(name: string, value?: string | number): SettingReference {
  return { setting: name, value };
}

/**
 * Names a task to run inside {@link say}, with settings and options by name:
 * `task("score", { run, force: true })`.
 */
export function task(name: string, settings: TaskReference["with"] = {}): TaskReference {
  return { task: name, with: settings };
}

/**
 * Writes a {@link Text} from a template. Its values are texts, numbers, references, or texts with
 * references.
 */
export function say(
  strings: TemplateStringsArray,
  ...values: (Text | number | bigint | SettingReference | TaskReference)[]
): Text {
  const pieces = strings.flatMap((string, i) => {
    if (i === values.length) return [string];
    const value = values[i];
    if (Array.isArray(value)) {
      return [string, ...value as readonly (string | SettingReference | TaskReference)[]];
    }
    return [
      string,
      typeof value === "object" ? value as SettingReference | TaskReference : String(value),
    ];
  });
  return pieces.filter((piece) => piece !== "");
}

/**
 * Writes a text as a string. `words` says how references are worded; without it settings and tasks
 * keep their names.
 */
export function wordText(text: Text, words: Words = plainWords): string {
  return typeof text === "string"
    ? text
    : text.map((piece) => typeof piece === "string" ? piece : words(piece)).join("");
}

function plainWords(reference: SettingReference | TaskReference): string {
  if ("setting" in reference) {
    return reference.value === undefined
      ? reference.setting
      : `${reference.setting} ${reference.value}`;
  }
  const settings = Object.entries(reference.with).filter(([, value]) =>
    value !== undefined && value !== false
  );
  const words = settings.map(([name, value]) =>
    value === true ? name : `${name} ${JSON.stringify(value)}`
  );
  return `task "${reference.task}"${words.length > 0 ? ` with ${words.join(", ")}` : ""}`;
}

/** Where something is wrong, and how to mend it. */
export interface Explanation {
  /** The file or folder that is wrong, or the name of the stream that is. */
  where?: string;
  /** How to mend it: the end of a sentence, without a full stop. */
  remedy?: Text;
  /** The error that led to this one. */
  cause?: unknown;
}

/** An error that says what must hold, what is, and how to mend it. */
export abstract class ExplainedError extends Error {
  /** What must hold, and what is: "Cannot … as … must …: it is …". */
  readonly what: Text;
  /** The file or folder that is wrong, where one is. */
  readonly where?: string;
  /** How to mend it. */
  readonly remedy?: Text;

  /** Describes what is wrong. */
  constructor(what: Text, { where, remedy, cause }: Explanation = {}) {
    super(wordText(remedy === undefined ? what : say`${what}; ${remedy}`), { cause });
    this.name = new.target.name;
    this.what = what;
    this.where = where;
    this.remedy = remedy;
  }
}

/**
 * The user's input or settings are wrong, and the user can mend them. Only this error makes a task
 * end with exit code 2.
 */
export class InputError extends ExplainedError {}

/** Throws an {@linkcode InputError} unless something holds. */
export function ensure(holds: unknown, fact: Text, explanation?: Explanation): asserts holds {
  if (!holds) throw new InputError(fact, explanation);
}

/**
 * The input is right, but the machine or the moment is not: no adapter, a full disk, a lock that
 * another process holds, a loss that is not finite.
 */
export class RunError extends ExplainedError {}
