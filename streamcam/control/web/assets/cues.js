// The cue list: GO takes the next cue, a press on any other jumps to it.
import { MidiBadge } from "./midi.js";
import { press, rowOf, send, useSession, useValue } from "./store.js";
import { html, useEffect, useRef } from "./ui.js";

export const hasCues = () => Boolean(rowOf("cue/go"));

function Lists() {
  const lists = useValue("cue/lists").filter(Boolean);
  const [loaded] = useValue("cue/load");
  const [notice] = useValue("cue/notice");
  return html`<div class="cue-lists">
    ${lists.length > 0 && html`<label class="control choice"><span class="label">List</span>
      <select value=${loaded} onChange=${(event) => send("cue/load", event.target.value)}>
        ${!lists.includes(loaded) && html`<option value=${loaded} selected>${loaded || "none"}</option>`}
        ${lists.map((name) => html`<option value=${name} selected=${name === loaded}>${name}</option>`)}
      </select></label>`}
    <p class="quiet" role="status">${notice}</p>
  </div>`;
}

function Cue({ name, index, isCurrent, isNext }) {
  const item = useRef(null);
  useEffect(() => {
    if (isNext) item.current.scrollIntoView({ block: "nearest" });
  }, [isNext]);
  return html`<li ref=${item} class="cue ${isCurrent ? "current" : ""} ${isNext ? "next" : ""}">
    <button type="button" aria-current=${isCurrent ? "step" : undefined} onClick=${() => send("cue/jump", index + 1)}>
      <span class="number">${index + 1}</span><span class="name">${name}</span>
      <small>${isCurrent ? "on air" : isNext ? "next" : ""}</small>
    </button>
  </li>`;
}

export function Cues() {
  useSession();
  const names = useValue("cue/names").filter(Boolean);
  const [current] = useValue("cue/current");
  const [next] = useValue("cue/next");
  return html`<div class="cues">
    <div class="row">
      <button type="button" class="button go" aria-keyshortcuts="G" disabled=${!next}
        onClick=${() => press("cue/go")}><b>GO</b><small>${next || "no cue left"}</small></button>
      <${MidiBadge} row=${rowOf("cue/go")} label="GO" />
      <button type="button" class="button back" aria-keyshortcuts="Shift+G"
        onClick=${() => press("cue/back")}>Back</button>
    </div>
    <${Lists} />
    ${names.length
      ? html`<ol class="cue-list" aria-label="Cues">
          ${names.map((name, index) => html`<${Cue} key=${`${index} ${name}`} name=${name} index=${index}
            isCurrent=${name === current} isNext=${name === next} />`)}
        </ol>`
      : html`<p class="quiet">There is no cue list: start with --cue-list and a file.</p>`}
  </div>`;
}
