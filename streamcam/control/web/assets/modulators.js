// Modulators: a small panel under each fader that the server can move with the beat.
import { capitalised } from "./format.js";
import { rowOf, useSession, useValue } from "./store.js";
import { html, useState } from "./ui.js";
import { Control } from "./controls.js";

export function useModulator(name) {
  const { rows } = useSession();
  const [isOpen, setOpen] = useState(false);
  const [shape] = useValue(`mod/${name}/shape`);
  const start = `mod/${name}/`;
  if (!rowOf(`${start}shape`)) return null;
  const parts = [...rows.values()].filter((row) => row.name.startsWith(start));
  return { parts, start, isOpen, setOpen, isOn: shape !== undefined && shape !== "off" };
}

export function ModulatorButton({ modulator, label }) {
  if (!modulator) return null;
  const { isOpen, isOn, setOpen } = modulator;
  return html`<button type="button" class="badge wave ${isOn ? "on" : ""}" aria-expanded=${isOpen ? "true" : "false"}
    aria-label="Modulator of ${label}${isOn ? ", running" : ""}" title="Move it with the beat"
    onClick=${() => setOpen(!isOpen)}>∿</button>`;
}

export function ModulatorPanel({ modulator, label }) {
  if (!modulator?.isOpen) return null;
  return html`<div class="modulator" role="group" aria-label="Modulator of ${label}">
    ${modulator.parts.map((row) => html`<${Control} key=${row.name} row=${row}
      label=${capitalised(row.name.slice(modulator.start.length))} />`)}
  </div>`;
}
