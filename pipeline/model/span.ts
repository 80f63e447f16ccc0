/**
 * The span of a row: the stretch of its tokens that counts in a loss or a score. Padding lies
 * outside, and so does what follows a routing prefix.
 */

/**
 * The tokens at positions `begin` to `end - 1` of a row count; each is predicted from all tokens
 * before it. The first token of a row has none before it and is never predicted. So a span from 0
 * counts the same tokens as one from 1.
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
 * The rule of the routing prefix: what of a row of `length` tokens routers learn and score. It
 * stands here alone.
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

/**
 * Throws a `RangeError` unless every span is one of whole numbers within the first `most` tokens.
 */
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
