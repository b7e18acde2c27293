// The output and the camera: one of them, side by side, or one wiped over the other.
import { useConnection, useSession, useStatus } from "./store.js";
import { emit, useKey } from "./signals.js";
import { html, useEffect, useRef, useState } from "./ui.js";

const VIEWS = {
  after: { label: "After", shows: ["after"] },
  before: { label: "Before", shows: ["before"], key: "B" },
  both: { label: "Side by side", shows: ["before", "after"], key: "S" },
  wipe: { label: "Wipe", shows: ["before", "after"], key: "W" },
  control: { label: "ControlNet", shows: ["control"], key: "" },
};
const NAMES = { before: "Camera", after: "On air", control: "Shown to the ControlNets" };
const ALTS = { before: "Input from the camera", after: "Output on air", control: "Images for the ControlNets" };
const RETRY_MS = 1000;

const asked = new URLSearchParams(location.search).get("view");
let view = asked in VIEWS ? asked : "after";

const hasControl = (rows) => [...rows.keys()].some((name) => name.startsWith("controlnet_scale/"));

export function toggleView(next) {
  view = view === next ? "after" : next;
  emit("view");
}

export function toggleFullScreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else document.querySelector(".stage").requestFullscreen?.();
}

// Streams that nobody sees are closed: browsers allow six connections to one host, for all its pages.
function useVisible() {
  const [isVisible, setVisible] = useState(!document.hidden);
  useEffect(() => {
    const follow = () => setVisible(!document.hidden);
    document.addEventListener("visibilitychange", follow);
    return () => document.removeEventListener("visibilitychange", follow);
  }, []);
  return isVisible;
}

function Stream({ which, isOpen }) {
  const image = useRef(null);
  const [attempt, setAttempt] = useState(0);
  useEffect(() => {
    const element = image.current;
    if (isOpen) element.src = `/${which}.mjpg?${Date.now()}`;
    // Removing the element alone would leave the stream open.
    return () => element.removeAttribute("src");
  }, [isOpen, attempt]);
  return html`<figure id=${which}>
    <img ref=${image} alt=${ALTS[which]}
      onError=${() => setTimeout(() => setAttempt((count) => count + 1), RETRY_MS)} />
    <figcaption>${NAMES[which]}</figcaption>
  </figure>`;
}

export function Picture() {
  const { rows } = useSession();
  const current = useKey("view", () => view);
  const isVisible = useVisible();
  const isOpen = useConnection() === "open" && isVisible;
  const overrides = useStatus()?.overrides ?? [];
  const [share, setShare] = useState(0.5);
  const shown = VIEWS[current].shows;
  return html`<section class="picture" aria-label="Picture">
    <div class="stage ${current} ${overrides[0] ?? ""}" style=${{ "--share": share }}>
      ${shown.map((which) => html`<${Stream} key=${which} which=${which} isOpen=${isOpen} />`)}
      ${current === "wipe" && html`<span class="divider" aria-hidden="true"></span>
        <input type="range" class="wiper" min="0" max="1" step="0.005" value=${share}
          aria-label="Edge between camera and output" onInput=${(event) => setShare(Number(event.target.value))} />`}
      ${!isOpen && html`<p class="no-picture">${isVisible ? "No connection" : ""}</p>`}
    </div>
    <nav class="views" aria-label="View">
      <span class="segments" role="group" aria-label="Output or camera">
        ${Object.entries(VIEWS).filter(([name]) => name !== "control" || hasControl(rows)).map(([name, { label, key }]) => html`<button type="button" key=${name}
          aria-pressed=${name === current ? "true" : "false"} aria-keyshortcuts=${key || undefined}
          onClick=${() => name !== view && toggleView(name === "after" ? view : name)}>${label}</button>`)}
      </span>
      <button type="button" class="button quiet" aria-keyshortcuts="F" onClick=${toggleFullScreen}>Full screen</button>
    </nav>
  </section>`;
}
