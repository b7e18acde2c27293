// Latency of the last minute as a small graph.
import { html } from "./ui.js";

const [WIDTH, HEIGHT, SPAN_S] = [300, 64, 60];

const niceTop = (value) => [50, 100, 200, 300, 500, 1000, 2000, 5000, 10000].find((top) => value <= top) ?? value;

function line(points, index, top) {
  return points
    .filter((point) => point[index] !== null)
    .map((point) => {
      const x = WIDTH * (1 - point[0] / SPAN_S);
      const y = HEIGHT - (HEIGHT - 2) * Math.min(point[index] / top, 1) - 1;
      return `${x.toFixed(1)},${y.toFixed(1)}`;
    })
    .join(" ");
}

// Points are [age in seconds, p50, p95], both in ms and null where nothing was on air.
export function LatencyGraph({ points }) {
  const values = points.flatMap(([, p50, p95]) => [p50, p95]).filter((value) => value !== null);
  if (values.length < 2) return null;
  const top = niceTop(Math.max(...values));
  return html`<figure class="graph">
    <svg viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="img"
        aria-label="Latency of the last minute, up to ${Math.round(Math.max(...values))} ms">
      <line x1="0" x2=${WIDTH} y1=${HEIGHT / 2} y2=${HEIGHT / 2} class="grid" />
      <polyline points=${line(points, 2, top)} class="p95" />
      <polyline points=${line(points, 1, top)} class="p50" />
    </svg>
    <figcaption><span>last minute</span><span><i class="p50"></i>median</span><span><i class="p95"></i>95 %</span><span>${top} ms</span></figcaption>
  </figure>`;
}
