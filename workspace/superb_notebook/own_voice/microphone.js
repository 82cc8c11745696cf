// The microphone: asked for, listened to, let go. Every failure has one sentence that says what helps.

const RATE = 16000; // Hz, of what the kernel gets
const LATE_MS = 5000; // after a recording should be full, the microphone counts as silent

// Runs beside the page's other work and hands over each block of samples.
const TAP = `registerProcessor("tap", class extends AudioWorkletProcessor {
  process([[samples]]) { if (samples) this.port.postMessage(samples.slice()); return true; }
});`;

const WITHOUT = "Without a recording, the cells below use a synthetic voice.";
const TROUBLE = {
  Insecure: `No microphone: browsers give it to pages from localhost or by https only. Open JupyterLab at localhost, by “ssh -L 8888:localhost:8888 HOST” if it runs on another machine. ${WITHOUT}`,
  NotAllowedError: `No microphone: this page may not use it. Allow it next to the browser's address bar and in the system's settings, then record again. ${WITHOUT}`,
  NotFoundError: `No microphone: there is none at this computer. Plug one in, then record again. ${WITHOUT}`,
  NotReadableError: `No microphone: another program holds it, or it has failed. Close that program or plug it in again, then record again. ${WITHOUT}`,
  Worklet: `No recording: this browser does not start its audio worklet. Load the page again, or open it in a current Chrome, Edge, Firefox or Safari. ${WITHOUT}`,
  Silent: "The microphone gives no sound. Choose another one in the system's settings, then record again.",
  Gone: "The microphone went away. Plug it in again, then record again.",
};
const ALSO = { OverconstrainedError: "NotFoundError", SecurityError: "NotAllowedError", AbortError: "NotReadableError" };

function failure(name) {
  return Object.assign(new Error(name), { name });
}

function inWords({ name, message }) {
  return TROUBLE[ALSO[name] ?? name] ?? `The recording failed (${name}: ${message}). Load the page again, then record again.`;
}

// Returns why there is none, as far as that is known before it is asked for; empty otherwise.
async function whyNoMicrophone() {
  if (!navigator.mediaDevices?.getUserMedia) return inWords(failure("Insecure"));
  const devices = await navigator.mediaDevices.enumerateDevices();
  return devices.some(({ kind }) => kind === "audioinput") ? "" : inWords(failure("NotFoundError"));
}

async function openMicrophone(onLevel, onEnd) {
  if (!navigator.mediaDevices?.getUserMedia) throw failure("Insecure");
  const wanted = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  const stream = await navigator.mediaDevices.getUserMedia({ audio: wanted });
  let context = null;
  const letGo = () => {
    for (const track of stream.getTracks()) track.stop();
    context?.close();
  };
  try {
    context = new AudioContext();
    return listen(stream, context, await startTap(context), letGo, onLevel, onEnd);
  } catch (error) {
    letGo(); // or the browser goes on showing that it records
    throw error;
  }
}

async function startTap(context) {
  const module = URL.createObjectURL(new Blob([TAP], { type: "text/javascript" }));
  try {
    await context.audioWorklet.addModule(module);
    await context.resume();
    return new AudioWorkletNode(context, "tap", { channelCount: 1, channelCountMode: "explicit" });
  } catch {
    throw failure("Worklet");
  } finally {
    URL.revokeObjectURL(module);
  }
}

function listen(stream, context, tap, letGo, onLevel, onEnd) {
  context.createMediaStreamSource(stream).connect(tap).connect(context.destination); // which hears nothing from it
  let recording = null;
  let peak = 0;
  let closed = false;
  tap.port.onmessage = ({ data }) => {
    recording?.take(data);
    for (const sample of data) peak = Math.max(peak, Math.abs(sample));
  };
  const meter = setInterval(() => {
    onLevel(20 * Math.log10(peak + 1e-6));
    peak = 0;
  }, 50);
  stream.getAudioTracks()[0].onended = onEnd;
  return {
    rate: context.sampleRate,
    record(seconds) {
      if (closed) throw failure("Gone");
      recording = new Recording(seconds * context.sampleRate, 1000 * seconds + LATE_MS);
      return recording.samples;
    },
    close() {
      closed = true;
      clearInterval(meter);
      letGo();
      recording?.fail("Gone");
    },
  };
}

// What the microphone hears from now on, at its own rate.
class Recording {
  constructor(count, patience) {
    this.heard = new Float32Array(count);
    this.filled = 0;
    this.samples = new Promise((done, failed) => Object.assign(this, { done, failed }));
    this.late = setTimeout(() => this.fail("Silent"), patience);
  }

  take(block) {
    if (this.filled === this.heard.length) return;
    const room = block.subarray(0, this.heard.length - this.filled);
    this.heard.set(room, this.filled);
    this.filled += room.length;
    if (this.filled < this.heard.length) return;
    clearTimeout(this.late);
    this.done(this.heard);
  }

  // No effect once it is done.
  fail(name) {
    clearTimeout(this.late);
    this.failed(failure(name));
  }
}

// 16-bit samples at 16 kHz, least significant byte first.
async function toPcm(samples, rate, seconds) {
  const offline = new OfflineAudioContext(1, RATE * seconds, RATE);
  const source = offline.createBufferSource();
  source.buffer = offline.createBuffer(1, samples.length, rate);
  source.buffer.copyToChannel(samples, 0);
  source.connect(offline.destination);
  source.start();
  const resampled = (await offline.startRendering()).getChannelData(0);
  const pcm = new DataView(new ArrayBuffer(2 * resampled.length));
  resampled.forEach((sample, at) => pcm.setInt16(2 * at, Math.round(32767 * Math.max(-1, Math.min(1, sample))), true));
  return pcm.buffer;
}
