// The page of the recorder, behind microphone.js. It loads nothing from anywhere, and what it records goes to the
// notebook's kernel only.

const BEFORE_MS = 250; // the click on the button is not recorded
const BUSY_MS = 2000; // after which the page says that the kernel is busy
const IDLE_MS = 60000; // after which the microphone is let go
const FLOOR_DB = -60; // at the left end of the level meter
const HINT = "The browser will ask for the microphone. The space bar records, too.";
const BUSY = "The notebook is busy; this is done when the running cell ends. After a restart of the kernel, run this cell again.";
const RESTARTED = "The kernel was restarted, and this recorder belongs to the old one: run this cell again.";

export default { render };

function render({ model, el }) {
  const page = build(el);
  let chosen = next(model);
  let busy = false;
  let left = false; // by its kernel, or by the page
  let microphone = null;
  let idle = 0;

  const letGo = () => {
    microphone?.close();
    microphone = null;
    page.level.style.width = "0";
  };

  function show() {
    const { word, wanted } = chosen ?? {};
    const room = word === "room";
    page.ask.textContent = !chosen ? "All is recorded" : room ? "Ten seconds of the room" : "Say";
    page.word.textContent = !chosen ? "✓" : room ? "nothing" : word;
    page.count.textContent = chosen ? `${takes(model, word).length} of ${wanted}` : "";
    page.record.disabled = busy || !chosen || takes(model, word).length >= wanted;
    showRows(model, page, chosen?.word, busy, { choose, send });
  }

  function say(text, good = true) {
    page.said.textContent = text;
    page.said.classList.toggle("trouble", !good);
  }

  function choose(entry) {
    chosen = entry;
    show();
  }

  function send(message, buffers = []) {
    busy = true;
    show();
    clearTimeout(send.timer);
    send.timer = setTimeout(() => say(BUSY), BUSY_MS);
    model.send(message, undefined, buffers);
  }

  async function record() {
    busy = true;
    show();
    clearTimeout(idle);
    try {
      microphone ??= await openMicrophone((db) => {
        page.level.style.width = `${Math.max(0, 100 * (1 - db / FLOOR_DB))}%`;
      }, letGo);
      if (left) return letGo(); // while the browser asked
      const { word, seconds } = chosen;
      const { rate, record: hear } = microphone;
      say(word === "room" ? "Recording the room: say nothing …" : `Say “${word}” now …`);
      await new Promise((done) => setTimeout(done, BEFORE_MS));
      page.time.animate([{ width: "0" }, { width: "100%" }], { duration: 1000 * seconds });
      const pcm = await toPcm(await hear(seconds), rate, seconds);
      if (!left) send({ kind: "keep", word }, [pcm]);
    } catch (error) {
      letGo();
      if (left) return;
      busy = false;
      say(inWords(error), false);
      show();
    }
    idle = setTimeout(letGo, IDLE_MS);
  }

  function receive(message, buffers) {
    if (message.kind === "play") {
      URL.revokeObjectURL(page.player.src);
      page.player.src = URL.createObjectURL(new Blob([buffers[0]], { type: "audio/wav" }));
      page.player.play();
      return;
    }
    clearTimeout(send.timer);
    busy = false;
    say(message.text, message.good);
    if (!chosen || message.next) chosen = next(model);
    if (!chosen) letGo();
    show();
    page.record.focus({ preventScroll: true }); // so that the space bar records the next word
  }

  // JupyterLab tells this of a recorder whose kernel is restarted, and of no other.
  function noteRestart() {
    left = busy = true;
    clearTimeout(send.timer);
    letGo();
    say(RESTARTED, false);
    show();
  }

  page.record.onclick = record;
  const heard = { "msg:custom": receive, "change:takes": show, comm_live_update: noteRestart };
  for (const [event, answer] of Object.entries(heard)) model.on(event, answer);
  show();
  whyNoMicrophone().then((why) => why && say(why, false));
  return () => {
    left = true;
    clearTimeout(idle);
    clearTimeout(send.timer);
    letGo();
    for (const [event, answer] of Object.entries(heard)) model.off(event, answer);
  };
}

// What is recorded so far.

function takes(model, word) {
  return model.get("takes")[word] ?? [];
}

// The word with the fewest takes, so that no word is said many times in a row.
function next(model) {
  const open = model.get("words").filter(({ word, wanted }) => takes(model, word).length < wanted);
  const fewest = Math.min(...open.map(({ word }) => takes(model, word).length));
  return open.find(({ word }) => takes(model, word).length === fewest);
}

// The page.

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function build(el) {
  const page = {
    ask: element("span", { className: "ask" }),
    word: element("strong", { className: "word" }),
    count: element("span", { className: "count" }),
    record: element("button", { className: "record", textContent: "● Record" }),
    level: element("div", { className: "level" }),
    time: element("div", { className: "time" }),
    said: element("p", { className: "said", role: "status", textContent: HINT }),
    rows: element("div", { className: "rows" }),
    total: element("p", { className: "total" }),
    player: element("audio", { hidden: true }),
  };
  el.classList.add("superb-recorder");
  el.dataset.lmSuppressShortcuts = "true"; // JupyterLab would take the keys for its own
  el.replaceChildren(
    element("div", { className: "prompt" }, page.ask, page.word, page.count, page.record),
    element("div", { className: "meter", title: "level of the microphone" }, page.level),
    element("div", { className: "meter thin", title: "time" }, page.time),
    page.said,
    page.rows,
    page.total,
    page.player,
  );
  return page;
}

function showRows(model, page, chosen, busy, { choose, send }) {
  const words = model.get("words");
  page.rows.replaceChildren(
    ...words.map((entry) => {
      const { word, wanted } = entry;
      const name = element("button", { className: "name", textContent: word, disabled: busy, onclick: () => choose(entry) });
      name.setAttribute("aria-pressed", String(word === chosen));
      const places = Array.from({ length: wanted }, (_, take) =>
        takes(model, word).includes(take) ? clip(word, take, busy, send) : element("span", { className: "empty" }),
      );
      return element("div", { className: "row" }, name, element("div", { className: "places" }, ...places));
    }),
  );
  const done = words.reduce((sum, { word }) => sum + takes(model, word).length, 0);
  const all = words.reduce((sum, { wanted }) => sum + wanted, 0);
  page.total.textContent = `${done} of ${all} recordings`;
}

function clip(word, take, busy, send) {
  const button = (kind, text, what) => {
    const made = element("button", { textContent: text, title: what, disabled: busy, onclick: () => send({ kind, word, take }) });
    made.setAttribute("aria-label", `${what}: ${word}, take ${take + 1}`);
    return made;
  };
  return element("span", { className: "clip" }, button("play", "▶", "Listen"), button("delete", "✕", "Delete"));
}
