// A number that is typed: what is being typed stays, whatever arrives meanwhile.
import { numberText, parsedNumber, resolutionOf, rounded, unitOf } from "./format.js";
import { addNotices } from "./notices.js";
import { html, useRef, useState } from "./ui.js";
import { move } from "./store.js";

export function NumberField({ row, value, label, onChange = (number) => move(row.name, number) }) {
  const [draft, setDraft] = useState(null);
  const field = useRef(null);
  const unit = unitOf(row);

  function commit() {
    if (draft === null) return;
    setDraft(null);
    if (draft.trim() === "" || draft === numberText(value)) return;
    const number = parsedNumber(draft);
    if (number === null) addNotices([{ level: "error", text: `${label}: “${draft}” is no number` }]);
    else onChange(number);
  }

  function step(steps) {
    const [low, high] = [row.low ?? -Infinity, row.high ?? Infinity];
    const by = row.kind === "whole" ? 1 : Math.max(resolutionOf(row) * 10, 0.001);
    const from = parsedNumber(draft ?? "") ?? value ?? 0;
    const next = Math.min(Math.max(rounded(Number(from) + steps * by, by / 10), low), high);
    setDraft(numberText(next));
    onChange(next);
  }

  function onKeyDown(event) {
    if (event.key === "Enter") {
      commit();
      field.current.blur();
    } else if (event.key === "Escape") {
      setDraft(null);
      requestAnimationFrame(() => field.current.blur());
    } else if (event.key === "ArrowUp" || event.key === "ArrowDown") {
      event.preventDefault();
      step(event.key === "ArrowUp" ? 1 : -1);
    }
  }

  return html`<span class="number">
    <input ref=${field} type="text" inputmode="decimal" autocomplete="off" spellcheck="false"
      class=${String(row.high ?? "").length > 9 ? "long" : ""}
      aria-label=${unit ? `${label} in ${unit}` : label} placeholder="auto"
      value=${draft ?? numberText(value)}
      onFocus=${(event) => event.target.select()}
      onInput=${(event) => setDraft(event.target.value)}
      onBlur=${commit} onKeyDown=${onKeyDown} />
    ${unit && html`<span class="unit" aria-hidden="true">${unit}</span>`}
  </span>`;
}
