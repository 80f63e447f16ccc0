/**
 * Tests of kernels and of a model's training against golden values, for a browser: a second
 * implementation of WebGPU.
 *
 * @module
 */

import { afterEach, tests } from "./deno.ts";
import "../kernels/adamw/adamw_test.ts";
import "../kernels/attention/attention_test.ts";
import "../kernels/cross_entropy/cross_entropy_test.ts";
import "../kernels/embedding/embedding_test.ts";
import "../kernels/layer_norm/layer_norm_test.ts";
import "../kernels/linear_nll/linear_nll_test.ts";
import "../kernels/matmul/matmul_test.ts";
import "../kernels/rotary/rotary_test.ts";
import "../kernels/switch/switch_test.ts";
import "../kernels/transpose/transpose_test.ts";
import "../pipeline/model/golden_test.ts";

/** Runs the tests whose names match; gives the name of each, its seconds, and its error. */
async function run(pattern: string): Promise<{ name: string; seconds: number; error?: string }[]> {
  const results = [];
  for (const { name, fn, ignore } of tests) {
    if (ignore || !new RegExp(pattern).test(name)) continue;
    const began = performance.now();
    let error: string | undefined;
    try {
      await fn();
    } catch (thrown) {
      error = String((thrown as Error).stack ?? thrown);
    }
    for (const end of afterEach) await end();
    results.push({ name, seconds: (performance.now() - began) / 1000, error });
  }
  return results;
}

Object.assign(globalThis, { runTests: run, testNames: tests.map(({ name }) => name) });
