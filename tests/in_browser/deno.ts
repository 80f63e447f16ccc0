/**
 * Stands in for Deno where tests run in a browser: it collects tests, and reads files from the
 * server of the page. Imported before any test.
 *
 * @module
 */

/** A test as it was registered. */
export interface Registered {
  name: string;
  fn: () => void | Promise<void>;
  ignore?: boolean;
}

/** The tests that were registered, in their order. */
export const tests: Registered[] = [];
/** What runs after each test. */
export const afterEach: (() => void | Promise<void>)[] = [];

function test(first: string | Registered, second?: Registered["fn"] | Partial<Registered>): void {
  if (typeof first !== "string") tests.push(first);
  else if (typeof second === "function") tests.push({ name: first, fn: second });
  else tests.push({ name: first, ...second } as Registered);
}

/** Reads a file whole: a page can wait for bytes only where they come as text of one byte each. */
function readFileSync(path: string | URL): Uint8Array {
  const request = new XMLHttpRequest();
  request.open("GET", path, false);
  request.overrideMimeType("text/plain; charset=x-user-defined");
  request.send();
  if (request.status !== 200) throw new Error(`there is no ${path}`);
  return Uint8Array.from(request.responseText, (character) => character.charCodeAt(0));
}

const settings: Record<string, string> = { SMALLTALK_EDGES: "0" };

Object.assign(globalThis, {
  Deno: {
    test: Object.assign(test, {
      afterEach: (fn: typeof afterEach[number]) => void afterEach.push(fn),
    }),
    env: {
      get: (name: string) => settings[name],
      has: (name: string) => name in settings,
    },
    errors: { NotFound: class extends Error {} },
    readFileSync,
    readTextFileSync: (path: string) => new TextDecoder().decode(readFileSync(path)),
  },
});
