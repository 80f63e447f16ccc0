// attention_read_query: scores of a block whose q is read again for every block of keys, for attention_forward_workgroup where
// workgroup memory has no room for it (attention_keep_query).
//
// What it uses is that of the text that includes this.

fn keep_query(lane: u32, base: u32, first: u32) {}

fn scores_of(lane: u32, base: u32, first: u32, keys: u32) -> Rows {
  return multiply_rows(lane, Q, K, base, first, keys);
}
