// The prompts: four slots with weights, a crossfader between two of them, and what to avoid.
import { Slider } from "./fader.js";
import { numberText } from "./format.js";
import { MidiBadge } from "./midi.js";
import { NumberField } from "./number_field.js";
import { forgetPrompts, remember, usePromptHistory } from "./prompt_history.js";
import { grab, letGo, move, rowOf, send, shownValue, useValue } from "./store.js";
import { TextField } from "./text_field.js";
import { html, useEffect, useRef, useState } from "./ui.js";

export const SLOTS = ["a", "b", "c", "d"];
const POSITION = { name: "blend_t", kind: "number", fader: [0, 1], low: 0, high: 1 };
const weightOf = (slot) => Number(shownValue(`prompt/${slot}/weight`)[0] ?? 0);

// Fade from one slot to another; the others keep their weights.
export function crossfade(from, to, share) {
  const left = Math.round((1 - share) * 1000) / 1000;
  move(`prompt/${from}/weight`, left);
  move(`prompt/${to}/weight`, share);
}

function sendPrompt(name, text) {
  send(name, text);
  remember(text);
}

function Slot({ slot, share, onFocus, offer }) {
  const row = rowOf(`prompt/${slot}/weight`);
  const [text = ""] = useValue(`prompt/${slot}/text`);
  const [weight = 0] = useValue(row.name);
  const letter = slot.toUpperCase();
  useEffect(() => remember(text), [text]);
  return html`<li class="slot ${share > 0 ? "heard" : ""}" style=${{ "--share": share }} onFocusIn=${onFocus}>
    <span class="letter" aria-hidden="true">${letter}</span>
    <${TextField} id="prompt-${slot}" label="Prompt ${letter}" value=${text} rows=${1} offer=${offer}
      placeholder=${slot === "a" ? "What the image should become" : "Empty"}
      onCommit=${(typed) => sendPrompt(`prompt/${slot}/text`, typed)} />
    <span class="weight">
      <${Slider} row=${row} value=${weight} label="Weight of prompt ${letter}"
        onMove=${(number) => move(row.name, number)}
        onGrab=${() => grab(row.name)} onRelease=${() => letGo(row.name)} />
      <${NumberField} row=${row} value=${weight} label="Weight of prompt ${letter}" />
      <span class="share" title="Share of the blend">${Math.round(share * 100)} %</span>
      <${MidiBadge} row=${row} label="weight of prompt ${letter}" />
    </span>
  </li>`;
}

function SlotChoice({ value, other, label, onChange }) {
  return html`<select aria-label=${label} value=${value} onChange=${(event) => onChange(event.target.value)}>
    ${SLOTS.filter((slot) => slot !== other).map((slot) =>
      html`<option value=${slot} selected=${slot === value}>${slot.toUpperCase()}</option>`)}
  </select>`;
}

export const pair = { from: "a", to: "b" }; // Which slots the crossfader and its keys fade between.

function Crossfader() {
  const [{ from, to }, setPair] = useState(pair);
  const choose = (next) => setPair(Object.assign(pair, next) && { ...pair });
  const [left = 0] = useValue(`prompt/${from}/weight`);
  const [right = 0] = useValue(`prompt/${to}/weight`);
  const share = left + right > 0 ? right / (left + right) : 0;
  const names = [`prompt/${from}/weight`, `prompt/${to}/weight`];
  return html`<div class="crossfader" role="group" aria-label="Crossfader">
    <${SlotChoice} value=${from} other=${to} label="Crossfade from" onChange=${(slot) => choose({ from: slot })} />
    <${Slider} row=${POSITION} value=${share} label="From prompt ${from.toUpperCase()} to ${to.toUpperCase()}"
      onMove=${(number) => crossfade(from, to, number)}
      onGrab=${() => names.forEach(grab)} onRelease=${() => names.forEach(letGo)}
      onReset=${() => crossfade(from, to, 0)} />
    <${SlotChoice} value=${to} other=${from} label="Crossfade to" onChange=${(slot) => choose({ to: slot })} />
  </div>`;
}

function History({ onPick }) {
  const prompts = usePromptHistory();
  return html`<details class="history" aria-label="Prompts used before">
    <summary>History <span class="count">${prompts.length || ""}</span></summary>
    <ul>
      ${prompts.map((text) => html`<li key=${text}>
        <button type="button" onClick=${() => onPick(text)}>${text}</button></li>`)}
      ${prompts.length
        ? html`<li><button type="button" class="forget" onClick=${forgetPrompts}>Forget all</button></li>`
        : html`<li class="quiet">Prompts that were used are kept here, in this browser.</li>`}
    </ul>
  </details>`;
}

function moreThanSlots(prompt) {
  try {
    const list = JSON.parse(prompt);
    return Array.isArray(list) ? Math.max(0, list.length - SLOTS.length) : 0;
  } catch {
    return 0;
  }
}

export function Prompts() {
  const weights = SLOTS.map((slot) => Number(useValue(`prompt/${slot}/weight`)[0] ?? 0));
  const [prompt = ""] = useValue("prompt");
  const [negative = ""] = useValue("negative_prompt");
  const offers = { a: useRef(), b: useRef(), c: useRef(), d: useRef() };
  const chosen = useRef("a");
  const sum = weights.reduce((total, weight) => total + weight, 0);
  const others = moreThanSlots(prompt);
  if (!rowOf("prompt/a/text")) return null;
  return html`<div class="prompts">
    <ul class="slots">
      ${SLOTS.map((slot, index) => html`<${Slot} key=${slot} slot=${slot} offer=${offers[slot]}
        share=${sum > 0 ? weights[index] / sum : 0} onFocus=${() => (chosen.current = slot)} />`)}
    </ul>
    ${others > 0 && html`<p class="quiet">and ${numberText(others)} more, set by other means</p>`}
    <${Crossfader} />
    ${rowOf("negative_prompt") && html`<label class="negative">
      <span class="label">Avoid</span>
      <${TextField} label="Negative prompt" value=${negative} rows=${1} placeholder="What the image should not show"
        onCommit=${(typed) => sendPrompt("negative_prompt", typed)} />
    </label>`}
    <${History} onPick=${(text) => offers[chosen.current].current(text)} />
  </div>`;
}

export function stepCrossfade(by) {
  const [left, right] = [weightOf(pair.from), weightOf(pair.to)];
  const share = left + right > 0 ? right / (left + right) : 0;
  crossfade(pair.from, pair.to, Math.round(Math.min(Math.max(share + by, 0), 1) * 1000) / 1000);
}
