// How the broadcast is: rates, latency, counters, the GPU, the sinks.
import { duration, milliseconds } from "./format.js";
import { LatencyGraph } from "./latency_graph.js";
import { rowOf, send, useStatus } from "./store.js";
import { html, useRef } from "./ui.js";

const SETTLED_MS = 3; // A delay that differs by less is the same: nobody sets a microphone to it.

function Figure({ label, value, unit, title, level = "" }) {
  return html`<div class=${level} title=${title}><dt>${label}</dt><dd>${value ?? "–"} <small>${unit}</small></dd></div>`;
}

function Microphone({ delay }) {
  const kept = useRef(null);
  if (delay !== null && (kept.current === null || Math.abs(delay - kept.current) > SETTLED_MS)) kept.current = delay;
  if (delay === null) return null;
  return html`<p class="microphone">Delay your microphone by <b>${kept.current} ms</b></p>`;
}

function Sink({ sink: { name, problem, fps, skipped } }) {
  const rate = `${fps.toFixed(1)} fps${skipped ? `, ${skipped} skipped to keep up` : ""}`;
  return html`<li class=${problem ? "bad" : ""}>
    <span class="dot" aria-hidden="true"></span><span class="name">${name}</span>
    <span class="state">${problem ?? rate}</span>
    ${problem && rowOf("sink/retry") && html`<button type="button" class="button" aria-label="Retry ${name}"
      onClick=${() => send("sink/retry", name)}>Retry</button>`}
  </li>`;
}

export function Health() {
  const status = useStatus();
  if (!status) return html`<p class="quiet">No figures yet.</p>`;
  const gigabytes = status.vram === null ? null : (status.vram / 2 ** 30).toFixed(1);
  return html`<div class="health">
    <dl class="figures" aria-label="Frame rates">
      <${Figure} label="In" value=${status.fps_in.toFixed(1)} unit="fps" title="Frames from the source" />
      <${Figure} label="Model" value=${status.fps_model.toFixed(1)} unit="fps" title="New frames from the model" />
      <${Figure} label="Model's image" value=${status.size || null} unit="" title="Width and height in pixels" />
      <${Figure} label="Out" value=${status.fps_out.toFixed(1)} unit="fps" title="Frames on air" />
      <${Figure} label="Latency" value=${milliseconds(status.latency_p50)} unit="ms" title="From camera to air, median" />
      <${Figure} label="95 % within" value=${milliseconds(status.latency_p95)} unit="ms" title="From camera to air" />
      <${Figure} label="On air for" value=${duration(status.uptime)} unit="" />
    </dl>
    <${LatencyGraph} points=${status.latency_history ?? []} />
    <${Microphone} delay=${status.microphone_delay_ms} />
    <dl class="counters" aria-label="Counters">
      <${Figure} label="Skipped to keep up" value=${status.dropped} />
      <${Figure} label="Skipped as similar" value=${status.skipped} />
      <${Figure} label="Restarts" value=${status.restarts} level=${status.restarts ? "warn" : ""} />
      ${gigabytes !== null && html`<${Figure} label="GPU memory" value=${gigabytes} unit="GiB" />`}
      ${status.power !== null && html`<${Figure} label="GPU power" value=${Math.round(status.power)} unit="W" />`}
    </dl>
    ${status.activity && html`<p class="quiet" role="status">${status.activity}</p>`}
    ${status.schedule && html`<p class="quiet">${status.schedule}</p>`}
    ${status.notice && html`<p class="remark" role="status">${status.notice}</p>`}
    <ul class="sinks" aria-label="Outputs">
      ${status.sink_states.map((sink, index) => html`<${Sink} key=${index} sink=${sink} />`)}
    </ul>
  </div>`;
}
