// Presets as a grid; saved, renamed and deleted where the server can do that.
import { Control } from "./controls.js";
import { MidiBadge } from "./midi.js";
import { rowOf, send, shownValue, useSession, useValue } from "./store.js";
import { emit, useKey } from "./signals.js";
import { html, useState } from "./ui.js";

const SAVE = "preset/save";
const RENAME = "preset/rename";
const DELETE = "preset/delete";

export const presetNames = () => shownValue("preset/names");
export const loadPreset = (name) => send("preset/load", name);

// A preset of the user's own has no thumbnail.
const hide = (event) => (event.target.hidden = true);

function Preset({ name, number, isCurrent }) {
  return html`<li>
    <button type="button" class="tile" aria-pressed=${isCurrent ? "true" : "false"}
      aria-keyshortcuts=${number < 10 ? String(number) : undefined} onClick=${() => loadPreset(name)}>
      <img src=${`/presets/${encodeURIComponent(name)}.jpg`} alt="" onError=${hide} />
      <span>${name}</span>${number < 10 && html`<small aria-hidden="true">${number}</small>`}
    </button>
    <${MidiBadge} row=${rowOf("preset/load")} value=${name} label="preset ${name}" />
  </li>`;
}

function EditablePreset({ name }) {
  const [text, setText] = useState(name);
  const [isSure, setSure] = useState(false);
  const rename = () => text.trim() && text !== name && send(RENAME, name, text.trim());
  return html`<li class="editable">
    <input type="text" value=${text} aria-label="New name of preset ${name}" disabled=${!rowOf(RENAME)}
      onInput=${(event) => setText(event.target.value)} onKeyDown=${(event) => event.key === "Enter" && rename()} />
    ${text !== name && html`<button type="button" class="button" onClick=${rename}>Rename</button>`}
    ${rowOf(DELETE) && html`<button type="button" class="button ${isSure ? "bad" : "quiet"}"
      aria-label=${isSure ? `Delete preset ${name} for good` : `Delete preset ${name}`}
      onBlur=${() => setSure(false)}
      onClick=${() => (isSure ? send(DELETE, name) : setSure(true))}>${isSure ? "Really delete" : "Delete"}</button>`}
  </li>`;
}

function SaveForm() {
  const [name, setName] = useState("");
  const exists = presetNames().includes(name.trim());
  function save(event) {
    event.preventDefault();
    if (!name.trim()) return;
    send(SAVE, name.trim());
    setName("");
  }
  return html`<form class="row" onSubmit=${save}>
    <input type="text" value=${name} placeholder="Name of a new preset" aria-label="Name of the preset to save"
      onInput=${(event) => setName(event.target.value)} />
    <button class="button" disabled=${!name.trim()}>${exists ? "Overwrite" : "Save"}</button>
  </form>`;
}

let isEditing = false;

export function PresetTools() {
  const editing = useKey("preset editing", () => isEditing);
  useSession();
  const set = (next) => {
    isEditing = next;
    emit("preset editing");
  };
  if (!rowOf(RENAME) && !rowOf(DELETE)) return null;
  return html`<button type="button" class="button quiet" aria-pressed=${editing ? "true" : "false"}
    onClick=${() => set(!editing)}>${editing ? "Done" : "Edit"}</button>`;
}

export function Presets() {
  useSession();
  const names = useValue("preset/names");
  const [current] = useValue("preset/load");
  const [notice] = useValue("preset/notice");
  const editing = useKey("preset editing", () => isEditing);
  const times = ["preset_time", "preset_easing"].map(rowOf).filter(Boolean);
  return html`<div class="presets">
    <ul class="tiles ${editing ? "editing" : ""}" aria-label="Presets">
      ${names.map((name, index) => editing
        ? html`<${EditablePreset} key=${name} name=${name} />`
        : html`<${Preset} key=${name} name=${name} number=${index + 1} isCurrent=${name === current} />`)}
    </ul>
    ${!names.length && html`<p class="quiet">There are no presets yet.</p>`}
    ${times.map((row) => html`<${Control} key=${row.name} row=${row} />`)}
    ${rowOf(SAVE) && html`<${SaveForm} />`}
    <p class="quiet" role="status">${notice}</p>
  </div>`;
}
