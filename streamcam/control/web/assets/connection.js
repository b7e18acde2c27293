// The WebSocket: connects again by itself, and gives up on a server that no longer sends anything.

const SILENCE_MS = 4000; // The status comes twice a second.
const RETRY_MS = [300, 600, 1000, 2000];

export class Connection {
  constructor(url, { onMessage, onState }) {
    this.url = url;
    this.onMessage = onMessage;
    this.onState = onState;
    this.failures = 0;
    this.timer = null;
    this.last = 0;
    // A phone that wakes up, or finds its network again, shall not wait for the next try.
    for (const event of ["online", "focus"]) addEventListener(event, () => this.retry());
    setInterval(() => this.checkSilence(), 1000);
    this.open();
  }

  get isOpen() {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  open() {
    clearTimeout(this.timer);
    this.timer = null;
    const socket = new WebSocket(this.url);
    this.socket = socket;
    this.last = performance.now();
    socket.onmessage = (event) => {
      if (socket !== this.socket) return;
      this.last = performance.now();
      this.failures = 0;
      this.onMessage(JSON.parse(event.data));
    };
    socket.onclose = () => socket === this.socket && this.lose();
  }

  lose() {
    const socket = this.socket;
    this.socket = null;
    // Closing may take as long as the network does, so nobody waits for it.
    socket?.close();
    this.onState("lost");
    if (this.failures > 0) this.explain();
    const wait = RETRY_MS[Math.min(this.failures++, RETRY_MS.length - 1)];
    this.timer = setTimeout(() => this.open(), wait);
  }

  // A browser does not say why a WebSocket is refused, so ask in another way.
  async explain() {
    try {
      const answer = await fetch("/stats", { cache: "no-store" });
      this.onState("lost", answer.ok ? "" : (await answer.text()).slice(0, 300));
    } catch {
      this.onState("lost");
    }
  }

  retry() {
    if (this.timer !== null) this.open();
  }

  checkSilence() {
    if (this.socket && performance.now() - this.last > SILENCE_MS) this.lose();
  }

  send(message) {
    if (this.isOpen) this.socket.send(JSON.stringify(message));
    return this.isOpen;
  }
}
