/** Made-up scores for the benchmarks of assignment. */

/** Experts that rows are scored for. */
export const EXPERTS = 32;
/** Tokens of the prefix that the longest rows were scored by. */
export const PREFIX = 256;

/** Makes a function that fills in the next rows: many are short, some experts are wanted more than others. */
export function rowsInTurn(): (nll: Float32Array, predicted: Uint32Array) => void {
  let state = 1;
  const uniform = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  return (nll, predicted) => {
    for (let row = 0; row < predicted.length; row++) {
      predicted[row] = uniform() < 0.8 ? PREFIX - 1 : 1 + Math.floor(uniform() * (PREFIX - 1));
      const level = 4 + 2 * uniform();
      const home = Math.floor(uniform() ** 2 * EXPERTS);
      for (let e = 0; e < EXPERTS; e++) {
        nll[row * EXPERTS + e] = predicted[row] * (level + uniform() - (e === home ? 1 : 0));
      }
    }
  };
}
