/**
 * Makes tables of fields, for settings and options alike. A field has a valibot schema for its
 * values, a default, a flag and a line of help. The type of the values of a table is inferred from
 * its fields.
 *
 * @module
 */

import { closest, distance } from "fastest-levenshtein";
import * as v from "valibot";
import { InputError, say, setting, type Text } from "../../kernels/errors.ts";

/** Describes one thing that can be set. */
export interface Field<Value = unknown> {
  /** Kind of its value; `texts` and `integers` are lists. */
  readonly form: "integer" | "number" | "text" | "choice" | "texts" | "integers" | "flag";
  /** Its name, under which it stands in its table. */
  name: string;
  /** Heading in the help. */
  section: string;
  /** Flag on the command line, without dashes. */
  flag: string;
  /** Placeholder for the value in the help, such as FOLDER. */
  readonly value: string;
  /** Value where none is given; undefined for an option that may be left out. */
  readonly default?: Value;
  /** Which values it takes, as in "an integer from 1 to 65535". */
  readonly requirement: string;
  /** Whether it names files or folders. */
  readonly isPath: boolean;
  /**
   * Whether keys of what is made leave it out at its default, as keys from before it existed do.
   */
  readonly isLater: boolean;
  /** One line of help. */
  readonly help: Text;
  /** Reads a value of any kind as a value of this field; returns null where it is not allowed. */
  readonly read: (value: unknown) => { value: Value } | null;
}

/** Fields by name. */
export type Fields = Record<string, Field>;

/** The values of a table's fields, by name. */
export type Values<Table extends Fields> = {
  -readonly [Name in keyof Table]: Table[Name] extends Field<infer Value> ? Value : never;
};

/** The default and the words of a field. A field without a default may be left out. */
interface FieldNotes<Default> {
  /** Value where none is given. */
  default?: Default;
  /** Flag on the command line, where it is not the name in kebab case. */
  flag?: string;
  /** Placeholder for the value in the help. */
  value?: string;
  /** Whether keys leave it out at its default: for settings that were added. Default: false. */
  isLater?: boolean;
}

/** The same for fields whose help needs a placeholder. */
type PlaceholderNotes<Default> = FieldNotes<Default> & { value: string };

/** Bounds of a number. The upper bound is 2^53 - 1 unless given, and is not mentioned then. */
interface Range {
  /** Smallest value. */
  min: number;
  /** Largest value. */
  max?: number;
}

const MOST = Number.MAX_SAFE_INTEGER;
const within = ({ min, max = MOST }: Range) =>
  v.pipe(v.number(), v.finite(), v.minValue(min), v.maxValue(max));
const rangeText = ({ min, max = MOST }: Range) =>
  max === MOST ? `of at least ${min}` : `from ${min} to ${max}`;

function field<Value>(
  form: Field["form"],
  schema: v.GenericSchema<unknown, Value>,
  requirement: string,
  notes: FieldNotes<Value> & { isPath?: boolean },
  help: Text,
): Field<Value> {
  const read = (value: unknown) => {
    const result = v.safeParse(schema, value);
    return result.success ? { value: result.output } : null;
  };
  const plain = { name: "", section: "", flag: "", value: "N", isPath: false, isLater: false };
  return { ...plain, form, requirement, help, read, ...notes };
}

/** Makes a field of an integer. */
export function integer<Default extends number | undefined = undefined>(
  { min, max, ...notes }: FieldNotes<Default> & Range,
  help: Text,
): Field<number | Default> {
  const schema = v.pipe(within({ min, max }), v.safeInteger());
  return field<number | Default>(
    "integer",
    schema,
    `an integer ${rangeText({ min, max })}`,
    notes,
    help,
  );
}

/** Makes a field of a number. */
export function number<Default extends number | undefined = undefined>(
  { min, max, ...notes }: FieldNotes<Default> & Range,
  help: Text,
): Field<number | Default> {
  const words = `a number ${rangeText({ min, max })}`;
  return field<number | Default>("number", within({ min, max }), words, notes, help);
}

/** Makes a field of a list of integers, separated by commas in a flag. */
export function integers(
  { min, max, ...notes }: FieldNotes<number[]> & Range,
  help: Text,
): Field<number[]> {
  const schema = v.array(v.pipe(within({ min, max }), v.safeInteger()));
  return field(
    "integers",
    schema,
    `integers ${rangeText({ min, max })}, separated by commas`,
    notes,
    help,
  );
}

/** Makes a field of a text. */
export function text<Default extends string | undefined = undefined>(
  notes: PlaceholderNotes<Default>,
  help: Text,
): Field<string | Default> {
  return field<string | Default>("text", v.string(), "a text", notes, help);
}

const ONE_WORD = "one word without quotes, backslashes or #";
/** The schema of a text that can stand as it is in a line of a script or of its settings. */
export const WORD: v.GenericSchema<unknown, string> = v.pipe(
  v.string(),
  v.regex(/^[^\s\p{Cc}"'`\\#]*$/u, `it must be ${ONE_WORD}`),
);

/** Makes a field of a text that can stand as it is in a line of a script. */
export function word(notes: PlaceholderNotes<never>, help: Text): Field<string | undefined> {
  return field<string | undefined>("text", WORD, ONE_WORD, notes, help);
}

/** Makes a field of a list of texts, whose flag is repeated. */
export function texts(notes: PlaceholderNotes<string[]>, help: Text): Field<string[]> {
  return field("texts", v.array(v.string()), "a list of texts", notes, help);
}

/**
 * Makes a field that holds the path of a file or folder. "" means none if it is the default;
 * otherwise it is refused.
 */
export function path<Default extends string | undefined = undefined>(
  notes: PlaceholderNotes<Default>,
  help: Text,
): Field<string | Default> {
  const schema = notes.default === "" ? v.string() : v.pipe(v.string(), v.nonEmpty());
  return field<string | Default>("text", schema, "a path", { ...notes, isPath: true }, help);
}

/** Makes a field of a list of paths, whose flag is repeated. */
export function paths(notes: FieldNotes<string[]>, help: Text): Field<string[]> {
  return { ...texts({ value: "PATH", ...notes }, help), isPath: true };
}

/** Makes a field that takes one of some texts. */
export function choice<const Choice extends string, Default extends string | undefined = undefined>(
  choices: readonly Choice[],
  notes: FieldNotes<Default> & { default?: NoInfer<Choice> },
  help: Text,
): Field<Choice | Default> {
  const all = { value: choices.join("|"), ...notes };
  return field<Choice | Default>(
    "choice",
    v.picklist(choices),
    `one of ${choices.join(", ")}`,
    all,
    help,
  );
}

/** Makes a field that is true where its flag is given, and false elsewhere. */
export function flag(help: Text, { isLater = false } = {}): Field<boolean> {
  const notes = { default: false, value: "", isLater };
  return field("flag", v.boolean(), "true or false", notes, help);
}

/**
 * Makes a field of a text that `read` parses. The text is never empty; `read` throws if it must.
 */
export function custom<Value, Default extends Value | undefined = undefined>(
  read: (text: string) => Value,
  notes: PlaceholderNotes<Default>,
  help: Text,
): Field<Value | Default> {
  const schema = v.pipe(v.string(), v.nonEmpty(), v.transform(read));
  return field<Value | Default>("text", schema, "a text that is not empty", notes, help);
}

/** Sets the names, the heading and the missing flags of a table's fields. Returns the table. */
export function section<Table extends Fields>(title: string, table: Table): Table {
  for (const [name, field] of Object.entries(table)) {
    field.name = name;
    field.section = title;
    field.flag ||= kebabCase(name);
  }
  return table;
}

/** Writes a name such as `sequenceLength` as `sequence-length`. */
export function kebabCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/**
 * Parses the text of a flag for a field. Returns a text that should be a number and is none as it
 * is, so that `checkValue` refuses it.
 */
export function parseValue({ form }: Field, text: string): unknown {
  const number = (part: string) =>
    part.trim() === "" || Number.isNaN(Number(part)) ? part : Number(part);
  if (form === "integer" || form === "number") return number(text);
  if (form === "integers") return text === "" ? [] : text.split(",").map(number);
  return form === "flag" ? text === "true" : text;
}

/** Reads a value by its field. Throws an `InputError` for a value that is not allowed. */
export function checkValue(field: Field, value: unknown): unknown {
  const read = field.read(value);
  if (read) return read.value;
  throw new InputError(
    say`Cannot use ${setting(field.name)} as it must be ${field.requirement}: it is ${
      typeof value === "number" ? value : JSON.stringify(value)
    }`,
  );
}

/**
 * Reads values of any kind as values of a table. Throws an `InputError` for a name that the table
 * lacks, and for a value that its field does not allow.
 */
export function readSomeValues<Table extends Fields>(
  table: Table,
  values: Record<string, unknown>,
): Partial<Values<Table>> {
  const read = Object.entries(values).map(([name, value]) => {
    if (Object.hasOwn(table, name)) return [name, checkValue(table[name], value)];
    const fact = nearestText(name, Object.keys(table));
    throw new InputError(`Cannot use field "${name}" as it must be a known one: ${fact}`);
  });
  return Object.fromEntries(read) as Partial<Values<Table>>;
}

/**
 * Reads values as {@linkcode readSomeValues} does, and adds the defaults of the others, in the
 * order of the table.
 */
export function fillValues<Table extends Fields>(
  table: Table,
  values: Record<string, unknown>,
): Values<Table> {
  const defaults = Object.entries(table).map((
    [name, field],
  ) => [name, structuredClone(field.default)]);
  return { ...Object.fromEntries(defaults), ...readSomeValues(table, values) } as Values<Table>;
}

/** The fewest letters at the beginning of a name that identify it. */
const BEGINNING = 3;

/**
 * Guesses which name `word` was meant to be: one that differs by about one edit in three letters,
 * or else one that begins with `word`. Returns undefined where none is that near.
 */
export function nearest(word: string, names: readonly string[]): string | undefined {
  const candidate = closest(word, names);
  if (candidate === undefined) return undefined;
  const most = Math.round(Math.max(word.length, candidate.length) / 3);
  const edits = distance(word, candidate);
  if (edits <= most && edits < word.length) return candidate;
  if (word.length < BEGINNING) return undefined;
  return closest(word, names.filter((name) => name.startsWith(word)));
}

/** Words the nearest name for a message, as in `the nearest is "rounds"`. */
export function nearestText(word: string, names: readonly string[]): string {
  const near = nearest(word, names);
  return near === undefined ? "none is like it" : `the nearest is "${near}"`;
}
