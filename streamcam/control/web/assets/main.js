// The control page of streamcam: everything that an operator sees and changes.
import { Cues, hasCues } from "./cues.js";
import { Group, groupsOf, KNOWN_GROUPS, titleOf } from "./groups.js";
import { Banners, Header, Notices } from "./header.js";
import { Health } from "./health.js";
import { Log } from "./log.js";
import { Overrides } from "./overrides.js";
import { Picture } from "./picture.js";
import { Presets, PresetTools } from "./presets.js";
import { Prompts } from "./prompts.js";
import { Recording } from "./recording.js";
import { Help } from "./shortcuts.js";
import { connect, useConnection, useSession } from "./store.js";
import { hasTempo, Tempo } from "./tempo.js";
import { html, render, useState } from "./ui.js";

const TABS = ["Prompt", "Look", "Show", "Health"]; // Of the phone layout, where one is shown at a time.

function Panel({ title, tab, tools, children }) {
  const id = `panel-${title.toLowerCase().replaceAll(" ", "-")}`;
  return html`<section class="panel" data-tab=${tab} aria-labelledby=${id}>
    <div class="panel-head"><h2 id=${id}>${title}</h2>${tools}</div>
    ${children}
  </section>`;
}

function Tabs({ current, onSelect }) {
  return html`<nav class="tabs" aria-label="Part of the page">
    ${TABS.map((tab) => html`<button type="button" key=${tab} aria-pressed=${tab === current ? "true" : "false"}
      onClick=${() => onSelect(tab)}>${tab}</button>`)}
  </nav>`;
}

function Page() {
  const { role, rows } = useSession();
  const isOpen = useConnection() === "open";
  const [tab, setTab] = useState(TABS[0]);
  const groups = groupsOf(rows);
  const middle = [...groups].filter(([group, found]) => group !== "Prompt" && found.length);
  // The browser itself then lets nobody touch a control, by pointer or by key.
  const locked = !isOpen || role !== "operator";
  return html`<div class="page" data-shown=${tab} data-role=${role} data-connection=${isOpen ? "open" : "lost"}>
    <${Banners} />
    <${Header} />
    <main>
      <div class="column first">
        <${Picture} />
        <fieldset role="none" disabled=${locked} class="stage-controls"><${Overrides} /><${Recording} /></fieldset>
        <fieldset role="none" disabled=${locked}>
          <${Panel} title="Prompt" tab="Prompt"><${Prompts} /><${Group} rows=${groups.get("Prompt")} /><//>
        </fieldset>
        <${Panel} title="Log" tab="Health"><${Log} /><//>
      </div>
      <fieldset role="none" disabled=${locked} class="column">
        ${middle.map(([group, found]) => html`<${Panel} key=${group} title=${titleOf(group)} tab=${KNOWN_GROUPS.includes(group) ? "Look" : "Show"}>
          <${Group} rows=${found} /><//>`)}
        ${hasTempo() && html`<${Panel} title="Tempo" tab="Show"><${Tempo} /><//>`}
      </fieldset>
      <div class="column">
        <fieldset role="none" disabled=${locked}>
          ${hasCues() && html`<${Panel} title="Cues" tab="Show"><${Cues} /><//>`}
          <${Panel} title="Presets" tab="Show" tools=${html`<${PresetTools} />`}><${Presets} /><//>
        </fieldset>
        <${Panel} title="Health" tab="Health"><${Health} /><//>
      </div>
    </main>
    <${Tabs} current=${tab} onSelect=${setTab} />
    <${Notices} />
    <${Help} />
  </div>`;
}

// The token of a link opened from another machine is taken along where the link has one.
connect(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/control${location.search}`);
render(html`<${Page} />`, document.querySelector("#app"));
