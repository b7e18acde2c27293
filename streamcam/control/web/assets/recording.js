// Recording and snapshots, with what was saved.
import { fileName } from "./format.js";
import { MidiBadge } from "./midi.js";
import { press, rowOf, send, shownValue, useLines, useSession, useStatus, useValue } from "./store.js";
import { html } from "./ui.js";

const SAVED = /^(?:saved the snapshot (.+)|recorded (.+), and its cues .+)$/;

export const toggleRecord = () => send("record", shownValue("record")[0] ? 0 : 1);
export const takeSnapshot = () => press("snapshot");

function lastSaved(lines) {
  for (const { text } of [...lines].reverse()) {
    const found = SAVED.exec(text);
    if (found) return found[1] ?? found[2];
  }
  return null;
}

export function Recording() {
  useSession();
  const status = useStatus();
  const isOn = Boolean(useValue("record")[0]);
  const saved = lastSaved(useLines());
  const path = status?.recording;
  const hasRecorder = path || status?.sinks.some((line) => String(line.name ?? line).startsWith("recorder"));
  if (!rowOf("snapshot")) return null;
  return html`<div class="recording">
    ${hasRecorder && html`<button type="button" class="button record ${path ? "on" : ""}" data-name="record"
      aria-pressed=${isOn ? "true" : "false"} aria-keyshortcuts="R" title=${rowOf("record").description}
      onClick=${toggleRecord}><i aria-hidden="true"></i>${path ? "Recording" : isOn ? "Waits for frames" : "Record"}</button>`}
    <button type="button" class="button" data-name="snapshot" aria-keyshortcuts="N"
      title="Save what is on air as a PNG" onClick=${takeSnapshot}>Snapshot</button>
    <${MidiBadge} row=${rowOf("snapshot")} label="Snapshot" />
    <span class="saved" role="status">
      ${path && html`<span title=${path}>● ${fileName(path)}</span>`}
      ${saved && html`<span title=${saved}>Saved ${fileName(saved)}</span>`}
      ${!hasRecorder && !saved && html`<span>No recorder: start with --sink recorder</span>`}
    </span>
  </div>`;
}
