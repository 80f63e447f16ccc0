/**
 * The span of a row: the stretch of its tokens that counts in a loss or a score. Padding lies outside, and so
 * does what follows a routing prefix.
 */

/**
 * The tokens at positions `begin` to `end - 1` of a row count; each is predicted from all tokens before it.
 * The first token of a row has none before it and is never predicted. So a span from 0 counts the same tokens
 * as one from 1.
 */
export interface Span {
  /** Position of the first token that counts. */
  begin: number;
  /** Position after the last token that counts, at most the row's real tokens. */
  end: number;
}

/** Counts all real tokens of a row: padding lies outside. */
export function wholeSpan(length: number): Span {
  return { begin: 0, end: length };
}

/**
 * The rule of the routing prefix: what of a row of `length` tokens routers learn and score. It stands here
 * alone.
 */
export function prefixSpan(length: number, prefix: number): Span {
  return { begin: 0, end: Math.min(prefix, length) };
}

/** Returns the position of the first token of a span that is predicted. */
export function firstPredicted({ begin }: Span): number {
  return Math.max(1, begin);
}

/** Counts the tokens of a span that are predicted. */
export function predictedTokens(span: Span): number {
  return Math.max(0, span.end - firstPredicted(span));
}

/** Counts the tokens of a routing prefix that are predicted: those that a sum of NLLs is over. */
export function prefixTokens(length: number, prefix: number): number {
  return predictedTokens(prefixSpan(length, prefix));
}

/** Counts what a cost of a row is divided by: 1 where it is one of the whole sequence; NaN where M is unknown. */
export function costTokens(length: number, { prefix, costs }: { prefix?: number; costs?: string }): number {
  return costs !== undefined ? 1 : prefix === undefined ? NaN : prefixTokens(length, prefix);
}

/** Throws a `RangeError` unless every row has a span of whole numbers within its first `lengths[row]` tokens. */
export function checkSpans(spans: readonly Span[], lengths: ArrayLike<number>): void {
  if (spans.length !== lengths.length) {
    throw new RangeError(
      `Cannot count tokens as every row must have a span: there are ${spans.length} of ${lengths.length} rows`,
    );
  }
  spans.forEach(({ begin, end }, row) => {
    const whole = Number.isSafeInteger(begin) && Number.isSafeInteger(end);
    if (whole && 0 <= begin && begin <= end && end <= lengths[row]) return;
    throw new RangeError(
      `Cannot count tokens as a span must lie within its row: that of row ${row} is ${begin} to ${end}, the row has ` +
        `${lengths[row]} tokens`,
    );
  });
}
