// A terminal in a container: xterm.js on Kubernetes' `v4.channel.k8s.io` WebSocket protocol.
// Every message starts with a channel byte: 0 input, 1 output, 2 error output, 3 final Status, 4 size.
import { FitAddon } from "@xterm/addon-fit";
import { Terminal } from "@xterm/xterm";

const encode = new TextEncoder();
const decode = new TextDecoder();

function theme() {
  const css = getComputedStyle(document.documentElement);
  const read = (name) => css.getPropertyValue(name).trim();
  return {
    background: read("--term-bg"), foreground: read("--term-fg"), cursor: read("--brass"), selectionBackground: "#4b6a94",
    black: "#1b2733", red: "#ff7a70", green: "#57c98a", yellow: "#e5b454", blue: "#6ea8ff", magenta: "#c79bf2", cyan: "#5ccfd6", white: "#d7e0ea",
    brightBlack: "#64788c", brightRed: "#ff9a92", brightGreen: "#83dfac", brightYellow: "#f3cf83", brightBlue: "#9cc3ff", brightMagenta: "#dcbcfa", brightCyan: "#8be3e8", brightWhite: "#ffffff",
  };
}

/** Opens a terminal in `parent` on `url`; `onState(state, message)` hears "open", "closed" or "failed". */
export function open(parent, url, onState) {
  const term = new Terminal({ fontFamily: getComputedStyle(document.documentElement).getPropertyValue("--mono"), fontSize: 13, lineHeight: 1.2, cursorBlink: true, scrollback: 5000, theme: theme(), allowProposedApi: false });
  const fit = new FitAddon();
  term.loadAddon(fit);
  term.open(parent);
  fit.fit();

  const socket = new WebSocket(url, ["v4.channel.k8s.io"]);
  socket.binaryType = "arraybuffer";
  let opened = false;
  let ended = null;
  const send = (channel, bytes) => {
    if (socket.readyState !== WebSocket.OPEN) return;
    const message = new Uint8Array(bytes.length + 1);
    message[0] = channel;
    message.set(bytes, 1);
    socket.send(message);
  };
  const size = () => send(4, encode.encode(JSON.stringify({ Width: term.cols, Height: term.rows })));

  socket.onopen = () => { opened = true; onState("open", ""); size(); term.focus(); };
  socket.onmessage = ({ data }) => {
    const bytes = new Uint8Array(data);
    if (bytes[0] === 1 || bytes[0] === 2) term.write(bytes.subarray(1));
    else if (bytes[0] === 3) {
      try { ended = JSON.parse(decode.decode(bytes.subarray(1))); } catch { ended = null; }
    }
  };
  socket.onclose = ({ reason }) => {
    if (ended?.status === "Success") onState("closed", "The shell ended.");
    else if (ended?.reason === "NonZeroExitCode") {
      const code = ended.details?.causes?.find((cause) => cause.reason === "ExitCode")?.message;
      onState("closed", code ? `The shell ended with exit code ${code}.` : "The shell ended.");
    } else if (ended) onState("failed", ended.message ?? "The session failed.");
    else onState(opened ? "closed" : "failed", reason || (opened ? "The connection was closed." : "The server refused the session."));
  };
  term.onData((text) => send(0, encode.encode(text)));
  term.onBinary((text) => send(0, Uint8Array.from(text, (c) => c.charCodeAt(0))));
  term.onResize(size);
  const observer = new ResizeObserver(() => fit.fit());
  observer.observe(parent);

  return {
    focus: () => term.focus(),
    close() {
      observer.disconnect();
      socket.onclose = null;
      socket.close();
      term.dispose();
    },
  };
}
