// Position of a fader, 0 to 1, and the value at it: wide ranges are curved, so that small values can be met.
import { resolutionOf, rounded } from "./format.js";

const STEP = 0.01;
const WIDEST = 1e6; // A fader over more is of no use to a hand: a seed, for example.

export const isFader = (row) => Boolean(row.fader) && row.fader[1] - row.fader[0] < WIDEST;

function power(low, high) {
  const span = high - low;
  return low < 0 || span <= 100 || span > 2000 ? 1 : 3;
}

export function positionOf(row, value) {
  const [low, high] = row.fader;
  const share = (Math.min(Math.max(value, low), high) - low) / (high - low);
  return share ** (1 / power(low, high));
}

export function valueAt(row, position) {
  const [low, high] = row.fader;
  const value = low + (high - low) * position ** power(low, high);
  return Math.min(Math.max(rounded(value, resolutionOf(row)), low), high);
}

// Return the value some steps of the keyboard away, at least one that can be told from the present one.
export function steppedValue(row, value, steps) {
  const position = Math.min(Math.max(positionOf(row, value) + steps * STEP, 0), 1);
  const next = valueAt(row, position);
  if (next !== value && Math.sign(next - value) === Math.sign(steps)) return next;
  const [low, high] = row.fader;
  return Math.min(Math.max(value + Math.sign(steps) * resolutionOf(row), low), high);
}
