/**
 * The span of a row: the tokens that count in a loss or a score. Every stage that reads a routing
 * prefix takes its span from {@link prefixSpan}.
 */

/**
 * The tokens at positions `begin` to `end - 1` of a row. Each is predicted from all tokens before
 * it. The first token of a row has none before it, so it is never predicted: spans from 0 and from
 * 1 count the same tokens.
 */
export interface Span {
  /** Position of the first token that counts. */
  begin: number;
  /** Position after the last token that counts, at most the row's real tokens. */
  end: number;
}

/** Returns the span of a row's `length` real tokens, without padding. */
export function wholeSpan(length: number): Span {
  return { begin: 0, end: length };
}

/**
 * Returns the span of the routing prefix, which routers learn and score: the first tokens of a row.
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

/** Counts the tokens of a routing prefix that are predicted, and so add to its NLL. */
export function prefixTokens(length: number, prefix: number): number {
  return predictedTokens(prefixSpan(length, prefix));
}

/** Throws a `RangeError` unless every span lies within the first `most` tokens of its row. */
export function checkSpans(spans: readonly Span[], most: number): void {
  spans.forEach(({ begin, end }, row) => {
    const whole = Number.isSafeInteger(begin) && Number.isSafeInteger(end);
    if (whole && 0 <= begin && begin <= end && end <= most) return;
    throw new RangeError(
      `Cannot count tokens as a span must lie within its row: that of row ${row} is ` +
        `${begin} to ${end}, the row has ` +
        `${most} tokens`,
    );
  });
}
