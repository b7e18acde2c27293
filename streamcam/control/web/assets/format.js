// Numbers and names as people read them.

const LABELS = {
  t_index_list: "Denoising steps",
  num_inference_steps: "Schedule length",
  guidance_scale: "Guidance",
  delta: "Negative guidance (delta)",
  enable_similar_image_filter: "Skip similar frames",
  similar_image_filter_threshold: "Similarity to skip at",
  similar_image_filter_max_skip_frame: "Most skips in a row",
  mix: "Opacity of the model",
  fps_limit: "Frame rate limit",
  prompt_time: "Prompt fade",
  preset_time: "Morph time",
  prompt_interpolation: "Prompt blending",
  reset: "Restart the stream",
  "seed/random": "Random seed",
  "tempo/bpm": "Beats per minute",
  "tempo/beat": "The one",
  "tempo/quantise": "Changes wait for",
};
const NAMED = { lora_scale: "LoRA" }; // Numbers of things with names, which stay as they are.
const UNITS = { degrees: "°", "frames/s": "fps", degree: "°", percent: "%" };

export function labelOf(row) {
  const [field, name] = row.name.split("/");
  if (field in NAMED && name) return `${NAMED[field]} ${name.replaceAll("_", " ")}`;
  const last = row.name.split("/").slice(1).join(" ") || row.name;
  const words = last.replaceAll("_", " ").replaceAll("/", " ");
  return LABELS[row.name] ?? words[0].toUpperCase() + words.slice(1);
}

export const unitOf = (row) => UNITS[row.unit] ?? row.unit ?? "";

// The smallest step that is worth showing for a fader that spans so much.
export function resolutionOf(row) {
  if (row.kind === "whole") return 1;
  const [low, high] = row.fader ?? [row.low, row.high];
  return 10 ** (Math.floor(Math.log10(Math.max(high - low, 1e-6))) - 3);
}

export function rounded(value, resolution) {
  const steps = Math.round(value / resolution);
  const digits = Math.max(0, -Math.floor(Math.log10(resolution)));
  return Number((steps * resolution).toFixed(digits));
}

// At most four decimals: enough for what is sent by others, without their noise.
export const numberText = (value) =>
  typeof value === "number" ? String(Number(value.toFixed(4))) : String(value ?? "");

export const withUnit = (text, unit) => (unit ? `${text}${unit === "°" ? "" : " "}${unit}` : text);

// Read a number as typed, with a comma or a point; null if it is none.
export function parsedNumber(text) {
  const tidy = text.trim().replace(",", ".");
  if (!/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(tidy)) return null;
  const isLong = /^\d{16,}$/.test(tidy); // Beyond what a browser counts exactly: the server reads the text.
  return isLong ? tidy : Number(tidy);
}

export const milliseconds = (seconds) =>
  seconds === null || seconds === undefined ? null : Math.round(seconds * 1000);

export function duration(seconds) {
  const whole = Math.floor(seconds);
  const two = (number) => String(number).padStart(2, "0");
  return `${Math.floor(whole / 3600)}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
}

export const fileName = (path) => String(path ?? "").split(/[\\/]/).pop();
export const clockTime = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { hour12: false });
export const capitalised = (text) => (text ? text[0].toUpperCase() + text.slice(1) : text);
