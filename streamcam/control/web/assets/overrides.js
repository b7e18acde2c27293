// What takes the place of the output: the flags of the group Safety, as large buttons, and what is on now.
import { labelOf } from "./format.js";
import { MidiBadge } from "./midi.js";
import { send, shownValue, useSession, useValue } from "./store.js";
import { html, useEffect } from "./ui.js";

const KEYS = { panic: "P", blackout: "K", freeze: "Z", bypass: "Y" };
const ORDER = ["panic", "blackout", "freeze", "bypass"];
const SHOWN = {
  panic: "The standby slate is on air",
  blackout: "Black is on air",
  freeze: "The output is held",
  bypass: "The camera is on air",
};
export const isOverride = (row) => row.group === "Safety" && row.kind === "flag";
const rank = (row) => (ORDER.indexOf(row.name) + ORDER.length + 1) % (ORDER.length + 1);

export const toggle = (name) => send(name, shownValue(name)[0] ? 0 : 1);

function Override({ row }) {
  const isOn = Boolean(useValue(row.name)[0]);
  const label = labelOf(row);
  return html`<span class="override ${row.name}">
    <button type="button" data-name=${row.name} aria-pressed=${isOn ? "true" : "false"} title=${row.description}
      aria-keyshortcuts=${KEYS[row.name]} onClick=${() => toggle(row.name)}>
      <b>${label}</b><small>${isOn ? "ON" : KEYS[row.name] ?? ""}</small>
    </button>
    <${MidiBadge} row=${row} label=${label} />
  </span>`;
}

export function Overrides() {
  const { rows } = useSession();
  const found = [...rows.values()].filter(isOverride).sort((a, b) => rank(a) - rank(b));
  return html`<div class="overrides" role="group" aria-label="Safety">
    ${found.map((row) => html`<${Override} key=${row.name} row=${row} />`)}
  </div>`;
}

// A line that nobody overlooks, also read aloud, for as long as one of them is on.
export function OverrideBanner() {
  const on = ORDER.filter((name) => Boolean(useValue(name)[0]));
  const first = on[0];
  useEffect(() => {
    document.title = first ? `${first.toUpperCase()} · streamcam` : "streamcam";
  }, [first]);
  return html`<div class="override-banner ${first ?? ""}" role="alert">
    ${first && html`<strong>${on.join(" · ").toUpperCase()}</strong> <span>${SHOWN[first]}</span>`}
  </div>`;
}
