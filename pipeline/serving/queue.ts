/** Runs work one piece after another. */

/** Runs `work` when all that was asked for before is over; a failure concerns the one who asked alone. */
export type Queue = <Result>(work: () => Result | Promise<Result>) => Promise<Result>;

/** Makes an empty queue. */
export function createQueue(): Queue {
  let last: Promise<unknown> = Promise.resolve();
  return (work) => {
    const done = last.then(work);
    last = done.catch(() => {});
    return done;
  };
}
