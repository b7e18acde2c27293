// The tempo: tapped or typed, with the beat to be seen, and what changes wait for.
import { Control } from "./controls.js";
import { MidiBadge } from "./midi.js";
import { press, rowOf, useSession, useValue } from "./store.js";
import { html } from "./ui.js";

const OWN = ["tempo/tap", "tempo/beat"];
const BEATS = [0, 1, 2, 3];

export const hasTempo = () => Boolean(rowOf("tempo/tap"));

function Beat() {
  const [beat] = useValue("tempo/beat");
  const now = typeof beat === "number" ? Math.floor(beat) % BEATS.length : null;
  return html`<span class="beats" aria-hidden="true">
    ${BEATS.map((index) => html`<i key=${index} class=${index === now ? "now" : ""}></i>`)}
  </span>`;
}

export function Tempo() {
  const { rows } = useSession();
  const others = [...rows.values()].filter((row) => row.name.startsWith("tempo/") && !OWN.includes(row.name));
  return html`<div class="tempo">
    <div class="row">
      <button type="button" class="button tap" aria-keyshortcuts="T" title=${rowOf("tempo/tap").description}
        onPointerDown=${() => press("tempo/tap")}
        onKeyDown=${(event) => ["Enter", " "].includes(event.key) && !event.repeat && press("tempo/tap")}>Tap</button>
      <${MidiBadge} row=${rowOf("tempo/tap")} label="Tap" />
      ${rowOf("tempo/beat")?.kind === "trigger"
        ? html`<${Control} row=${rowOf("tempo/beat")} />`
        : rowOf("tempo/beat") && html`<${Beat} />`}
    </div>
    ${others.map((row) => html`<${Control} key=${row.name} row=${row} />`)}
  </div>`;
}
