// Recording and snapshots, with what was saved.
import { fileName } from "./format.js";
import { MidiBadge } from "./midi.js";
import { press, rowOf, send, shownValue, useSession, useStatus, useValue } from "./store.js";
import { html } from "./ui.js";

export const toggleRecord = () => send("record", shownValue("record")[0] ? 0 : 1);
export const takeSnapshot = () => press("snapshot");

function Saved({ label, path }) {
  return path && html`<span title=${path}>${label} ${fileName(path)}</span>`;
}

export function Recording() {
  useSession();
  const status = useStatus();
  const isOn = Boolean(useValue("record")[0]);
  const path = status?.recording;
  const hasRecorder = path || status?.sink_states.some((sink) => sink.name.startsWith("recorder"));
  if (!rowOf("snapshot")) return null;
  return html`<div class="recording">
    ${hasRecorder && html`<button type="button" class="button record ${path ? "on" : ""}" data-name="record"
      aria-pressed=${isOn ? "true" : "false"} aria-keyshortcuts="R" title=${rowOf("record").description}
      onClick=${toggleRecord}><i aria-hidden="true"></i>${path ? "Recording" : isOn ? "Waits for frames" : "Record"}</button>`}
    <button type="button" class="button" data-name="snapshot" aria-keyshortcuts="N"
      title="Save what is on air as a PNG" onClick=${takeSnapshot}>Snapshot</button>
    <${MidiBadge} row=${rowOf("snapshot")} label="Snapshot" />
    <span class="saved" role="status">
      <${Saved} label="●" path=${path} />
      <${Saved} label="Recorded" path=${status?.last_recording} />
      <${Saved} label="Saved" path=${status?.last_snapshot} />
      ${status && !hasRecorder && html`<span>To record, start with --sink recorder:show.mp4</span>`}
    </span>
  </div>`;
}
