// Keys of the page, in one table: what they do and how the help shows them.
import { hasCues } from "./cues.js";
import { hasMidi, toggleLearning } from "./midi.js";
import { toggle } from "./overrides.js";
import { toggleFullScreen, toggleView } from "./picture.js";
import { loadPreset, presetNames } from "./presets.js";
import { stepCrossfade } from "./prompts.js";
import { takeSnapshot, toggleRecord } from "./recording.js";
import { press, rowOf } from "./store.js";
import { hasTempo } from "./tempo.js";
import { html, useEffect, useRef } from "./ui.js";

const always = () => true;
const KEYS = [
  ["p", "P", "Panic: the standby slate", () => toggle("panic"), always],
  ["k", "K", "Blackout", () => toggle("blackout"), always],
  ["z", "Z", "Freeze", () => toggle("freeze"), always],
  ["y", "Y", "Bypass: the camera", () => toggle("bypass"), always],
  ["g", "G", "GO: the next cue", () => press("cue/go"), hasCues],
  ["G", "Shift G", "The cue before", () => press("cue/back"), hasCues],
  ["t", "T", "Tap the tempo", () => press("tempo/tap"), hasTempo],
  ["r", "R", "Record, and stop", toggleRecord, always],
  ["n", "N", "Snapshot", takeSnapshot, always],
  ["[", "[", "Crossfade back, 5 %", () => stepCrossfade(-0.05), always, "repeats"],
  ["]", "]", "Crossfade on, 5 %", () => stepCrossfade(0.05), always, "repeats"],
  ["/", "/", "Write prompt A", () => document.querySelector("#prompt-a")?.focus(), always],
  ["b", "B", "The camera, and the output again", () => toggleView("before"), always],
  ["s", "S", "Side by side", () => toggleView("both"), always],
  ["w", "W", "Wipe", () => toggleView("wipe"), always],
  ["f", "F", "Full screen", toggleFullScreen, always],
  ["m", "M", "MIDI learn", toggleLearning, hasMidi],
  ["?", "?", "This list", () => toggleHelp(), always],
];
const ON_CONTROLS = [
  ["1 – 9", "Load a preset"],
  ["← →", "Move a fader; with Shift finely"],
  ["Delete", "Reset a fader, as a double click does"],
  ["Enter", "Send what was typed"],
  ["Esc", "Leave a field as it was"],
];

const dialog = () => document.querySelector("#help");

export function toggleHelp() {
  if (dialog().open) dialog().close();
  else dialog().showModal();
}

function isTyping({ target }) {
  if (target.closest?.("textarea, select, [contenteditable]")) return true;
  return target.tagName === "INPUT" && target.type !== "range";
}

function onKeyDown(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || isTyping(event)) return;
  if (dialog().open && event.key !== "?") return;
  // With the capitals locked, the keys do what they are for.
  const key = event.key === "G" && !event.shiftKey ? "g" : event.key;
  const found = KEYS.find(([wanted]) => wanted === key) ??
    (event.shiftKey ? undefined : KEYS.find(([wanted]) => wanted === key.toLowerCase()));
  if (found) {
    const [, , , act, isThere, repeats] = found;
    if ((event.repeat && !repeats) || !isThere()) return;
    event.preventDefault();
    act();
  } else if (/^[1-9]$/.test(key) && !event.repeat && rowOf("preset/load")) {
    const name = presetNames()[Number(key) - 1];
    if (name !== undefined) loadPreset(name);
  }
}

export function Help() {
  const box = useRef(null);
  useEffect(() => {
    document.addEventListener("keydown", onKeyDown);
    return () => document.removeEventListener("keydown", onKeyDown);
  }, []);
  const rows = [
    ...KEYS.filter(([, , , , isThere]) => isThere()).map(([, shown, text]) => [shown, text]),
    ...ON_CONTROLS,
  ];
  return html`<dialog id="help" ref=${box} aria-labelledby="help-title"
      onClick=${(event) => event.target === box.current && box.current.close()}>
    <form method="dialog" class="row"><h2 id="help-title">Keys</h2>
      <button class="button quiet" aria-label="Close">Close</button></form>
    <dl>${rows.map(([shown, text]) => html`<div key=${shown}><dt><kbd>${shown}</kbd></dt><dd>${text}</dd></div>`)}</dl>
    <p class="quiet">Keys do nothing while you write in a field.</p>
  </dialog>`;
}
