/** Runs the maker of one node on files that a test wrote, and counts what it reads at once. */

import type { Making, Node, Work } from "../../../pipeline/graph/node.ts";
import { readArrow, writeArrowFile } from "../../../pipeline/rows/arrow.ts";
import { Rows } from "../../../pipeline/rows/random_access.ts";

/**
 * Runs the maker of a node whose needs lie in a folder, each under its name, and returns the result
 * that its manifest would hold. `results` are those of the nodes that it needs.
 */
export async function makeAlone(
  node: Node,
  folder: string,
  results: Record<string, Record<string, unknown>> = {},
): Promise<Record<string, unknown>> {
  const own = `${folder}/${node.name}`;
  await Deno.mkdir(own, { recursive: true });
  // Nothing is known of a file but its name.
  const filesOf = (need: string) =>
    Object.fromEntries(Array.from(Deno.readDirSync(`${folder}/${need}`), ({ name }) => [name, {}]));
  const making = {
    node,
    folder: own,
    path: (need: string) => `${folder}/${need}`,
    manifest: (need: string) => ({
      get files() {
        return filesOf(need);
      },
      result: results[need] ?? {},
    }),
    write: (file: string, data: Uint8Array | string) =>
      typeof data === "string"
        ? Deno.writeTextFile(`${own}/${file}`, data)
        : Deno.writeFile(`${own}/${file}`, data),
    wrote() {},
  };
  const [result] = await node.maker.make(
    [making as unknown as Making],
    { run: folder, emit() {} } as unknown as Work,
  );
  if (result instanceof Error) throw result;
  return result;
}

/** Writes batches into a file of a node. */
export async function writeBatches(
  path: string,
  batches: Parameters<typeof writeArrowFile>[1],
): Promise<void> {
  await Deno.mkdir(path.replace(/\/[^/]*$/, ""), { recursive: true });
  await writeArrowFile(path, batches);
}

/** Counts the most rows that are read at once while something runs. */
export async function mostRead(run: () => Promise<unknown>): Promise<number> {
  const { read } = Rows.prototype;
  let most = 0;
  Rows.prototype.read = function (numbers, names, width) {
    most = Math.max(most, numbers.length);
    return Reflect.apply(read, this, [numbers, names, width]);
  };
  try {
    await run();
  } finally {
    Rows.prototype.read = read;
  }
  return most;
}

/** Reads the rows of a file, each with the values of its columns. */
export async function readAll(path: string): Promise<Record<string, unknown>[]> {
  const rows: Record<string, unknown>[] = [];
  for await (const batch of readArrow(path)) {
    const columns = batch.schema.fields.map(({ name }) => [name, batch.getChild(name)!] as const);
    for (let row = 0; row < batch.numRows; row++) {
      const values = columns.map(([name, column]) => [name, plain(column.get(row))]);
      rows.push(Object.fromEntries(values));
    }
  }
  return rows;
}

const plain = (value: unknown) =>
  value && typeof value === "object" ? Array.from(value as Iterable<unknown>) : value;
