// switch_block: which rows and which column an invocation works on, for texts with one per block of rows and column.
//
// WG and params are those of the text that includes this: params has rows, experts, block_rows and blocks.

struct Part {
  block: u32,
  column: u32, // of `experts` and one more
  first: u32, // row
  end: u32,
}

fn part_of(index: u32) -> Part {
  let columns = params.experts + 1u;
  let block = index / columns;
  let first = block * params.block_rows;
  return Part(block, index % columns, first, min(first + params.block_rows, params.rows));
}
