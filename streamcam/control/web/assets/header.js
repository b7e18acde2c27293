// Top of the page: how the broadcast is in a word, and the lines that nobody shall overlook.
import { milliseconds } from "./format.js";
import { LearnButton } from "./midi.js";
import { dismiss, useNotices } from "./notices.js";
import { OverrideBanner } from "./overrides.js";
import { toggleHelp } from "./shortcuts.js";
import { useConnection, useRefusal, useSession, useStatus } from "./store.js";
import { html } from "./ui.js";

const LEVELS = { running: "good", passthrough: "good", loading: "busy" };

function State() {
  const status = useStatus();
  const connection = useConnection();
  if (connection !== "open" || !status) {
    return html`<span class="pill busy" role="status" id="state">${connection === "lost" ? "no connection" : "connecting"}</span>`;
  }
  const isLost = status.source === "lost";
  const level = isLost ? "bad" : LEVELS[status.state] ?? "bad";
  return html`<span class="pill ${level}" role="status" id="state">${isLost ? "source lost" : status.state}</span>`;
}

function Rates() {
  const status = useStatus();
  const isOpen = useConnection() === "open";
  if (!status || !isOpen) return null;
  const latency = milliseconds(status.latency_p50);
  return html`<span class="rates" title="Frames a second: from the source, from the model, on air; latency">
    <span>in <b>${status.fps_in.toFixed(0)}</b></span><span>model <b>${status.fps_model.toFixed(1)}</b></span>
    <span>out <b>${status.fps_out.toFixed(0)}</b> fps</span>${latency !== null && html`<span><b>${latency}</b> ms</span>`}
  </span>`;
}

export function Header() {
  const { role, version } = useSession();
  const status = useStatus();
  const isOpen = useConnection() === "open";
  const model = status && status.model !== status.state ? status.model : "";
  return html`<header>
    <h1 title=${version && `streamcam ${version}`}>streamcam</h1>
    <${State} />
    ${status?.recording && html`<span class="pill bad rec">rec</span>`}
    <span class="model">${model}</span>
    ${isOpen && role !== "operator" && html`<span class="pill" title="This link shows everything and changes nothing">view only</span>`}
    <span class="space"></span>
    <${Rates} />
    <${LearnButton} />
    <button type="button" class="button quiet help" aria-keyshortcuts="?" aria-label="Keys" title="Keys (?)" onClick=${toggleHelp}>?</button>
  </header>`;
}

export function Banners() {
  const isLost = useConnection() === "lost";
  const refusal = useRefusal();
  const text = refusal
    ? `streamcam answers: ${refusal}.`
    : "The show goes on; nothing can be changed from here until streamcam answers again.";
  return html`<div class="banners">
    <div class="connection-banner" role="alert">
      ${isLost && html`<strong>No connection.</strong> <span>${text}</span>`}
    </div>
    <${OverrideBanner} />
  </div>`;
}

export function Notices() {
  const notices = useNotices();
  return html`<div class="notices" role="log" aria-live="assertive" aria-label="Messages">
    ${notices.map(({ id, level, text }) => html`<div key=${id} class="notice ${level}">
      <span>${text}</span>
      <button type="button" aria-label="Dismiss" onClick=${() => dismiss(id)}>×</button>
    </div>`)}
  </div>`;
}
