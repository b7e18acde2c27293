// Prompts that were used, the newest first, kept by the browser.
import { emit, useKey } from "./signals.js";

const KEY = "streamcam.prompts";
const MAX_KEPT = 40;
let kept = read();

function read() {
  try {
    const found = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(found) ? found.filter((text) => typeof text === "string") : [];
  } catch {
    return []; // Storage may be forbidden, or hold what another program wrote.
  }
}

function keep(texts) {
  kept = texts.slice(0, MAX_KEPT);
  try {
    localStorage.setItem(KEY, JSON.stringify(kept));
  } catch {
    // The list then lasts as long as the page.
  }
  emit("prompts");
}

export function remember(text) {
  const tidy = text.trim();
  if (tidy && kept[0] !== tidy) keep([tidy, ...kept.filter((other) => other !== tidy)]);
}

export const forgetPrompts = () => keep([]);
export const usePromptHistory = () => useKey("prompts", () => kept);
