// One control for every kind of row in the table, so that an added parameter appears by itself.
import { Fader } from "./fader.js";
import { isFader } from "./fader_curve.js";
import { labelOf, numberText } from "./format.js";
import { MidiBadge } from "./midi.js";
import { NumberField } from "./number_field.js";
import { move, press, send, useValue } from "./store.js";
import { TextField } from "./text_field.js";
import { html } from "./ui.js";

function Labelled({ row, label, children, kind }) {
  return html`<div class="control ${kind}" data-control=${row.name}>
    <span class="label" title=${row.description}>${label}</span>
    <${MidiBadge} row=${row} label=${label} />
    ${children}
  </div>`;
}

export function Flag({ row, label = labelOf(row) }) {
  const isOn = Boolean(useValue(row.name)[0]);
  return html`<${Labelled} row=${row} label=${label} kind="flag">
    <button type="button" role="switch" class="switch" aria-checked=${isOn ? "true" : "false"}
      aria-label=${label} title=${row.description} data-name=${row.name}
      onClick=${() => send(row.name, isOn ? 0 : 1)}><span></span></button>
  <//>`;
}

export function Choice({ row, label = labelOf(row), choices = row.choices }) {
  const [value] = useValue(row.name);
  const set = (choice) => send(row.name, choice);
  const unit = row.unit === "degrees" ? "°" : "";
  if (choices.length > 5 || choices.join("").length > 26) {
    return html`<${Labelled} row=${row} label=${label} kind="choice">
      <select aria-label=${label} data-name=${row.name} value=${value}
        onChange=${(event) => set(event.target.value)}>
        ${(value === undefined || value === "") && html`<option value="" hidden></option>`}
        ${choices.map((choice) => html`<option value=${choice} selected=${choice === value}>${choice}</option>`)}
      </select>
    <//>`;
  }
  return html`<${Labelled} row=${row} label=${label} kind="choice">
    <span class="segments" role="group" aria-label=${label}>
      ${choices.map((choice) => html`<button type="button" key=${choice} title=${row.description}
        aria-pressed=${choice === value ? "true" : "false"} onClick=${() => set(choice)}>${choice}${unit}</button>`)}
    </span>
  <//>`;
}

export function Trigger({ row, label = labelOf(row) }) {
  return html`<div class="control trigger" data-control=${row.name}>
    <button type="button" class="button" title=${row.description} data-name=${row.name}
      onClick=${() => press(row.name)}>${label}</button>
    <${MidiBadge} row=${row} label=${label} />
  </div>`;
}

function PlainNumber({ row, label }) {
  const [value] = useValue(row.name);
  const initial = row.default?.[0];
  const isChanged = initial !== undefined && value !== initial;
  return html`<${Labelled} row=${row} label=${label} kind="plain">
    ${isChanged && html`<button type="button" class="reset" aria-label="Reset ${label} to ${numberText(initial)}"
      title="Reset to ${numberText(initial)}" onClick=${() => move(row.name, initial)}>↺</button>`}
    <${NumberField} row=${row} value=${value} label=${label} />
  <//>`;
}

function Text({ row, label }) {
  const value = useValue(row.name);
  const text = value.map(numberText).join(row.kind === "indices" ? ", " : " · ");
  return html`<${Labelled} row=${row} label=${label} kind="text">
    <${TextField} label=${label} value=${text} placeholder=${row.kind === "indices" ? "from strength" : ""}
      onCommit=${(typed) => send(row.name, row.kind === "indices" ? typed.replaceAll(" ", "") : typed)} />
  <//>`;
}

function Shown({ row, label }) {
  const text = useValue(row.name).map((value) => (row.types === "0 or 1" ? (value ? "yes" : "no") : numberText(value)));
  return html`<${Labelled} row=${row} label=${label} kind="shown"><output>${text.join(" · ") || "–"}</output><//>`;
}

// Commands whose description says so have a value and take none.
const isOnlyRead = (row) => Boolean(row.read_only);

// A command has no kind of its own: its declared types say what it takes.
function commandKind(row) {
  if (row.choices?.length) return "choice";
  return { "0 or 1": "flag", number: "number", "whole number": "whole" }[row.types] ?? "text";
}

export function Control({ row, label = labelOf(row) }) {
  const kind = row.kind === "command" ? commandKind(row) : row.kind;
  if (isOnlyRead(row)) return html`<${Shown} row=${row} label=${label} />`;
  const parts = { row: { ...row, kind }, label };
  if (kind === "trigger") return html`<${Trigger} ...${parts} />`;
  if (kind === "flag") return html`<${Flag} ...${parts} />`;
  if (kind === "choice" && row.choices?.length) return html`<${Choice} ...${parts} />`;
  if (kind === "number" || kind === "whole") {
    return isFader(row) ? html`<${Fader} ...${parts} />` : html`<${PlainNumber} ...${parts} />`;
  }
  return html`<${Text} ...${parts} />`;
}
