// A screen of an experiment: measures, keeps what is not sent yet, and sends it until it arrives.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  // A page from the browser's own memory (the back button) may show a screen that is over.
  window.addEventListener("pageshow", (event) => event.persisted && location.reload());
  const form = document.querySelector("form[data-key]");
  if (!form) return;
  const key = `biml ${form.dataset.key}`;
  const problem = document.getElementById("problem");
  const started = performance.now();
  const draft = { elapsed: 0, changes: 0, focusLost: 0, fields: {}, ...stored() };
  const measured = ["form_token", "screen", "rt_ms", "changes", "focus_lost"];
  let sending = false;

  function stored() {
    try {
      return JSON.parse(sessionStorage.getItem(key));
    } catch {
      return null;
    }
  }

  function store() {
    const fields = [...new FormData(form)].filter(([name]) => !measured.includes(name));
    const elapsed = draft.elapsed + performance.now() - started;
    const kept = { ...draft, elapsed, fields: Object.fromEntries(fields) };
    try {
      sessionStorage.setItem(key, JSON.stringify(kept));
    } catch {
      // Without storage, only a reload before sending loses what is on the page.
    }
  }

  for (const [name, value] of Object.entries(draft.fields)) {
    for (const field of form.querySelectorAll(`[name="${CSS.escape(name)}"]`)) {
      if (field.type === "radio") field.checked = field.value === value;
      else field.value = value;
      const circles = field.closest("[data-circles]");
      if (circles) Circles.at(circles).value = value.split(" ").filter(Boolean);
    }
  }

  for (const type of ["circles", "change"]) {
    form.addEventListener(type, () => {
      draft.changes += 1;
      problem.hidden = true;
      store();
    });
  }
  form.addEventListener("input", store);
  window.addEventListener("pagehide", () => sending || store());
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) lost();
  });
  window.addEventListener("blur", lost);

  let lostAt = -Infinity;
  function lost() {
    // Both events tell of the same moment.
    if (sending || performance.now() - lostAt < 100) return;
    lostAt = performance.now();
    draft.focusLost += 1;
    store();
  }

  function show(text) {
    problem.textContent = text;
    problem.hidden = false;
    problem.scrollIntoView({ block: "nearest" });
  }

  const MOST_FAULTS = 6; // of the server, in 25 seconds: enough to start it anew

  const pause = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));

  // Send until the server has the answer; the second time changes nothing there. Returns why the
  // participant has to do something, if so.
  async function send(body, button) {
    let faults = 0;
    for (let wait = 1; ; wait = Math.min(2 * wait, 10)) {
      let reason = "There is no connection.";
      try {
        const response = await fetch(form.action, {
          method: "POST",
          body,
          redirect: "manual",
          signal: AbortSignal.timeout(20000),
        });
        if (response.status === 422) {
          const page = new DOMParser().parseFromString(await response.text(), "text/html");
          return page.getElementById("problem").textContent;
        }
        if (response.status < 500 && response.status !== 429) {
          sessionStorage.removeItem(key);
          location.replace(form.dataset.next);
          return "";
        }
        reason = "Your answer could not be saved yet.";
        if (response.status >= 500) faults += 1;
      } catch {
        // No connection, or no answer in time.
      }
      if (faults === MOST_FAULTS) {
        button.textContent = "Try again";
        return `${form.dataset.fault} Your answer is kept on this page.`;
      }
      show(`${reason} Your answer is kept here and is sent again by itself.`);
      await pause(wait);
    }
  }

  if (form.dataset.preview !== undefined) return;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (sending) return;
    sending = true;
    form.elements.rt_ms.value = Math.round(draft.elapsed + performance.now() - started);
    form.elements.changes.value = draft.changes;
    form.elements.focus_lost.value = draft.focusLost;
    const body = new URLSearchParams(new FormData(form, event.submitter));
    const buttons = form.querySelectorAll(".buttons button");
    for (const button of buttons) button.disabled = true;
    const refused = await send(body, event.submitter);
    if (!refused) return;
    show(refused);
    for (const button of buttons) button.disabled = false;
    sending = false;
  });
});
