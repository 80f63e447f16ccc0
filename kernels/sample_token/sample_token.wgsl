// sample_token: the next token of each row of logits, by temperature, top-k, top-p and a number in [0, 1).
//
//   choices  [rows]          Choice  read   how a token is chosen; a vocabulary of 0 leaves out its row
//   logits   [rows, stride]  f32     read
//   tokens   [rows]          u32     write  the token, where the next pass reads it
//   sampled  [rows]          u32     write  the token, where the host reads it
//
// Ids with a weight exp((logit - largest) / temperature) lie side by side and share [0, 1), in their order; with top-k or top-p the
// largest come first. The token is that on which the number falls. Nothing is sorted: from its highest bit on, the key of a logit is
// found above which lies as much weight as asked for.
//
// One workgroup per row. Sums are in f32, so near a border the token may be the one next to it; it always is below the vocabulary.
// Reference: sampleToken in pipeline/serving/sampling.ts.

override WG: u32 = 256u; // a power of two

struct Params { rows: u32, stride: u32, first: u32 } // rows of choices, logits and sampled begin at the first

struct Choice { temperature: f32, top_p: f32, draw: f32, top_k: u32, vocabulary: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> choices: array<Choice>;
@group(0) @binding(2) var<storage, read> logits: array<f32>;
@group(0) @binding(3) var<storage, read_write> tokens: array<u32>;
@group(0) @binding(4) var<storage, read_write> sampled: array<u32>;

struct Row { base: u32, vocabulary: u32, best: f32, temperature: f32 }

var<workgroup> largest: atomic<u32>;
var<workgroup> inverted: atomic<u32>; // of the lowest id that fits
var<workgroup> shares: array<f32, WG>;

// include sum_lanes

// Numbers in the order of the values.
fn key_of(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  return select(bits | 0x80000000u, ~bits, bits >> 31u == 1u);
}

fn value_of(key: u32) -> f32 {
  return bitcast<f32>(select(~key, key & 0x7fffffffu, key >> 31u == 1u));
}

fn weight_of(row: Row, x: f32) -> f32 { return exp((x - row.best) / row.temperature); }

// Weight of the ids whose keys are at least `lowest`, or their number. All lanes call it.
fn mass_from(lane: u32, row: Row, lowest: u32, counts: bool) -> f32 {
  var sum = 0.0;
  for (var id = lane; id < row.vocabulary; id += WG) {
    let x = logits[row.base + id];
    sum += select(0.0, select(weight_of(row, x), 1.0, counts), key_of(x) >= lowest);
  }
  return sum_lanes(lane, sum);
}

// The largest key from which on there is more than so much mass.
fn key_with(lane: u32, row: Row, mass: f32, counts: bool) -> u32 {
  var key = 0u;
  for (var bit = 0x80000000u; bit > 0u; bit >>= 1u) {
    if (mass_from(lane, row, key | bit, counts) > mass) { key |= bit; }
  }
  return key;
}

fn offer(id: u32) { atomicMax(&inverted, ~id); }

// Offers the id on which the draw falls, in the order of ids.
fn offer_by_id(lane: u32, row: Row, draw: f32) {
  let each = (row.vocabulary + WG - 1u) / WG;
  let end = min((lane + 1u) * each, row.vocabulary);
  var share = 0.0;
  for (var id = lane * each; id < end; id++) { share += weight_of(row, logits[row.base + id]); }
  shares[lane] = share;
  workgroupBarrier();
  var before = 0.0;
  var total = 0.0;
  for (var other = 0u; other < WG; other++) {
    if (other == lane) { before = total; }
    total += shares[other];
  }
  var above = before;
  let place = draw * total;
  if (place < before || place >= before + share) { return; }
  for (var id = lane * each; id < end; id++) {
    above += weight_of(row, logits[row.base + id]);
    if (place < above) { offer(id); break; }
  }
}

// Returns the key of the logit on which the draw falls, in the order of logits.
fn key_by_logit(lane: u32, row: Row, choice: Choice) -> u32 {
  var last = 0u; // key of the last candidate
  if (choice.top_k > 0u && choice.top_k < choice.vocabulary) {
    last = key_with(lane, row, f32(choice.top_k) - 0.5, true);
  }
  if (choice.top_p < 1.0) {
    let all = mass_from(lane, row, last, false);
    last = max(last, key_with(lane, row, choice.top_p * all, false));
  }
  let kept = mass_from(lane, row, last, false);
  return max(last, key_with(lane, row, choice.draw * kept, false));
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let place = group.y * grid.x + group.x;
  if (place >= params.rows) { return; }
  let choice = choices[params.first + place];
  if (choice.vocabulary == 0u) { return; } // the same for the whole workgroup
  let base = (params.first + place) * params.stride;
  var highest = 0u;
  for (var id = lane; id < choice.vocabulary; id += WG) { highest = max(highest, key_of(logits[base + id])); }
  atomicMax(&largest, highest);
  workgroupBarrier();
  let best = atomicLoad(&largest);
  let row = Row(base, choice.vocabulary, value_of(best), choice.temperature);
  if (choice.temperature > 0.0 && choice.top_p == 1.0 && (choice.top_k == 0u || choice.top_k >= choice.vocabulary)) {
    offer_by_id(lane, row, choice.draw);
  } else {
    var key = best;
    if (choice.temperature > 0.0) { key = key_by_logit(lane, row, choice); }
    for (var id = lane; id < choice.vocabulary; id += WG) {
      if (key_of(logits[base + id]) == key) { offer(id); }
    }
  }
  workgroupBarrier();
  if (lane > 0u) { return; }
  let token = min(~atomicLoad(&inverted), choice.vocabulary - 1u);
  tokens[place] = token;
  sampled[params.first + place] = token;
}
