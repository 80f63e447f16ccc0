import { assert, assertEquals } from "@std/assert";
import {
  countTokens,
  embed,
  learnEmbedding,
  type SparseRow,
  squaredDistances,
  weigh,
} from "../../../../pipeline/partition/ctbm/embedding.ts";

const GOLDEN = new URL("../../../../fixtures/golden/ctbm/embedding.json", import.meta.url);

interface Golden {
  vocabulary: number;
  dimensions: number;
  documents: number[][];
  idf: number[];
  tfidf_row_0: [column: number, value: number][];
  singular_values: number[];
  squared_distances_of_first_20: number[][];
  new_documents: number[][];
  squared_distances_new_to_first_20: number[][];
}

const countsOf = (documents: number[][]): SparseRow[] =>
  documents.map((document) => countTokens(Uint16Array.from(document), -1));

const near = (a: number, b: number, error: number) =>
  assert(Math.abs(a - b) <= error, `${a} and ${b}`);

Deno.test("an embedding meets the golden inverse frequencies, rows, singular values and distances", async () => {
  const golden: Golden = JSON.parse(await Deno.readTextFile(GOLDEN));
  const { vocabulary, dimensions, documents } = golden;
  const counts = countsOf(documents);
  // One value more than the embedding has is golden too.
  const { values } = await learnEmbedding(countsOf(documents), vocabulary, dimensions + 1, 1);
  assertEquals(values.length, golden.singular_values.length);
  golden.singular_values.forEach((value, i) => near(values[i] / value, 1, 1e-6));

  const embedding = await learnEmbedding(counts, vocabulary, dimensions, 1);
  assertEquals(embedding.dimensions, dimensions);
  golden.idf.forEach((value, id) => near(embedding.frequencies[id], value, 1e-6));
  const { column, value } = weigh(counts[0], embedding.frequencies);
  const row = new Map(Array.from(column, (id, i) => [id, value[i]]));
  assertEquals(row.size, golden.tfidf_row_0.length);
  for (const [id, value] of golden.tfidf_row_0) near(row.get(id)!, value, 1e-6);

  const points = embed(counts, embedding);
  const first = points.subarray(0, 20 * dimensions);
  const distances = squaredDistances(first, first, dimensions, 20);
  golden.squared_distances_of_first_20.flat().forEach((value, i) =>
    near(distances[i], value, 1e-5)
  );
  const fresh = embed(countsOf(golden.new_documents), embedding);
  const toFirst = squaredDistances(fresh, first, dimensions, 20);
  golden.squared_distances_new_to_first_20.flat().forEach((value, i) =>
    near(toFirst[i], value, 1e-5)
  );
});

Deno.test("embed() gives rows of length 1, and 0 for one without known ids", async () => {
  const embedding = await learnEmbedding(countsOf([[0, 1, 1], [2], []]), 3, 5, 1);
  assertEquals(embedding.dimensions, 2);
  const points = embed(countsOf([[0, 1], [2, 2], []]), embedding);
  near(points[0] ** 2 + points[1] ** 2, 1, 1e-12);
  near(points[2] ** 2 + points[3] ** 2, 1, 1e-12);
  assertEquals([points[4], points[5]], [0, 0]);
});
