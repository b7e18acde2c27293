// Which rows of the table have a place of their own, and the groups of all others.
import { Control } from "./controls.js";
import { isOverride } from "./overrides.js";
import { html } from "./ui.js";

const TITLES = { Obs: "OBS", Midi: "MIDI" };
export const titleOf = (group) => TITLES[group] ?? group;
export const KNOWN_GROUPS = ["Prompt", "Look", "Camera", "Output", "Safety"];
const PLACED = new Set(["prompt", "negative_prompt", "preset_time", "preset_easing", "record", "snapshot"]);
const PLACED_BEGINNINGS = ["prompt/", "preset/", "cue/", "tempo/", "mod/", "midi/", "sink/"];

const isPlaced = (row) =>
  PLACED.has(row.name) || PLACED_BEGINNINGS.some((start) => row.name.startsWith(start)) || isOverride(row);

// Return the rows that have no other place, by group, the known groups first.
export function groupsOf(rows) {
  const groups = new Map(KNOWN_GROUPS.map((group) => [group, []]));
  for (const row of rows.values()) {
    if (isPlaced(row)) continue;
    const group = row.group || "More";
    if (!groups.has(group)) groups.set(group, []);
    groups.get(group).push(row);
  }
  return groups;
}

export function Group({ rows }) {
  const buttons = rows.filter((row) => row.kind === "trigger");
  const others = rows.filter((row) => row.kind !== "trigger");
  return html`<div class="group">
    ${others.map((row) => html`<${Control} key=${row.name} row=${row} />`)}
    ${buttons.length > 0 && html`<div class="buttons">
      ${buttons.map((row) => html`<${Control} key=${row.name} row=${row} />`)}</div>`}
  </div>`;
}
