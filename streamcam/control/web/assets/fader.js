// A fader with its number: dragged, stepped by keys or typed; double click resets it.
import { positionOf, steppedValue, valueAt } from "./fader_curve.js";
import { labelOf, numberText, unitOf, withUnit } from "./format.js";
import { MidiBadge } from "./midi.js";
import { ModulatorButton, ModulatorPanel, useModulator } from "./modulators.js";
import { NumberField } from "./number_field.js";
import { grab, letGo, move, useLive, useValue } from "./store.js";
import { html } from "./ui.js";

const KEY_STEPS = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 };

// The bare slider, for whatever value: `onMove` takes numbers.
export function Slider({ row, value, label, live, onMove, onGrab, onRelease, onReset }) {
  const position = value === undefined ? 0 : positionOf(row, Number(value));
  const text = value === undefined ? "automatic" : withUnit(numberText(value), unitOf(row));

  function onKeyDown(event) {
    if (event.key in KEY_STEPS) {
      event.preventDefault();
      const steps = KEY_STEPS[event.key] * (event.shiftKey ? 0.1 : 1);
      onMove(steppedValue(row, Number(value ?? row.fader[0]), steps));
    } else if (event.key === "Backspace" || event.key === "Delete") {
      onReset?.();
    }
  }

  const moving = typeof live === "number" && Math.abs(positionOf(row, live) - position) > 0.002;
  return html`<span class="slider ${value === undefined ? "unset" : ""}"
      style=${{ "--position": position, "--live": moving ? positionOf(row, live) : position }}>
    <input type="range" min="0" max="1" step="0.001" value=${position}
      aria-label=${label} aria-valuetext=${text} data-name=${row.name}
      onInput=${(event) => onMove(valueAt(row, Number(event.target.value)))}
      onPointerDown=${onGrab} onPointerUp=${onRelease} onPointerCancel=${onRelease}
      onLostPointerCapture=${onRelease} onBlur=${onRelease}
      onDblClick=${onReset} onKeyDown=${onKeyDown} />
    ${moving && html`<span class="ghost" aria-hidden="true"></span>`}
  </span>`;
}

export function Fader({ row, label = labelOf(row) }) {
  const { name } = row;
  const [value] = useValue(name);
  const live = useLive(name);
  const modulator = useModulator(name);
  const initial = row.default?.[0];
  const isChanged = initial !== undefined && value !== undefined && value !== initial;
  const reset = () => initial !== undefined && move(name, initial);
  const moved = (number) => move(name, number);
  return html`<div class="control fader" data-control=${name}>
    <span class="label" title=${row.description} onDblClick=${reset}>${label}</span>
    ${isChanged && html`<button type="button" class="reset" onClick=${reset}
      title="Reset to ${withUnit(numberText(initial), unitOf(row))}"
      aria-label="Reset ${label} to ${numberText(initial)}">↺</button>`}
    <${ModulatorButton} modulator=${modulator} label=${label} />
    <${MidiBadge} row=${row} label=${label} />
    <${NumberField} row=${row} value=${value} label=${label} />
    <${Slider} row=${row} value=${value} label=${label} live=${live} onMove=${moved}
      onGrab=${() => grab(name)} onRelease=${() => letGo(name)} onReset=${reset} />
    <${ModulatorPanel} modulator=${modulator} label=${label} />
  </div>`;
}
