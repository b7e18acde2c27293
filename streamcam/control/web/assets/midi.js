// MIDI learn: in learn mode each control has a button that waits for a fader or pad to be moved.
import { rowOf, send, useSession, useValue } from "./store.js";
import { emit, useKey } from "./signals.js";
import { html } from "./ui.js";

let isLearning = false;

export const hasMidi = () => Boolean(rowOf("midi/learn"));

export function toggleLearning() {
  isLearning = !isLearning && hasMidi();
  emit("learning");
}

const useLearning = () => useKey("learning", () => isLearning);

// Return what is mapped to a control, from texts such as "strength: cc 0 ch 1, nanoKONTROL2".
function mappingOf(name, mappings) {
  const found = mappings.filter((text) => String(text).startsWith(`${name}: `));
  return found.map((text) => text.slice(name.length + 2)).join("; ");
}

// With a `value`, that is what the MIDI control sends: the name of a preset.
export function MidiBadge({ row, label, value }) {
  const learning = useLearning();
  const [waiting] = useValue("midi/learn");
  const mapping = mappingOf(row.name, value === undefined ? useValue("midi/mappings") : []);
  if (!learning || !hasMidi()) return null;
  const isWaiting = value === undefined && (waiting === row.name || waiting === row.address);
  const target = value === undefined ? [row.address] : [row.address, value];
  return html`<span class="midi">
    <button type="button" class="badge ${isWaiting ? "waiting" : ""}" aria-pressed=${isWaiting ? "true" : "false"}
      aria-label=${isWaiting ? `Stop learning ${label}` : `Learn a MIDI control for ${label}`}
      title=${mapping || "Map the MIDI control that is moved next"}
      onClick=${() => send("midi/learn", ...target)}>${isWaiting ? "move it…" : mapping || "learn"}</button>
    ${mapping && html`<button type="button" class="badge" aria-label="Forget the MIDI control of ${label}"
      title="Forget ${mapping}" onClick=${() => send("midi/forget", ...target)}>×</button>`}
  </span>`;
}

export function LearnButton() {
  useSession();
  const learning = useLearning();
  const ports = useValue("midi/ports");
  if (!hasMidi()) return null;
  return html`<button type="button" class="button" aria-pressed=${learning ? "true" : "false"}
    aria-keyshortcuts="M" title=${ports.length ? `Inputs: ${ports.join(", ")}` : "No MIDI input is open"}
    onClick=${toggleLearning}>MIDI learn</button>`;
}
