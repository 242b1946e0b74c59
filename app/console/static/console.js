"use strict";
(() => {
// Everything here adds to pages that work without it.
for (const time of document.querySelectorAll("time[datetime]")) {
  const at = new Date(time.dateTime);
  if (isNaN(at)) continue;
  time.title = time.textContent.trim();
  time.textContent = at.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
}
for (const button of document.querySelectorAll("button[data-copy]")) {
  button.hidden = !navigator.clipboard;  // only where the page is secure
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.textContent = "Copied";
  });
}
for (const form of document.querySelectorAll("form[method=post]:not([data-redo])")) {
  let sent = -Infinity;  // a double click sends it once
  form.addEventListener("submit", (event) => {
    if (event.timeStamp - sent < 1000) { event.preventDefault(); event.stopImmediatePropagation(); }
    else sent = event.timeStamp;
  });
}
const pool = document.querySelector("input[data-pool-name]");
if (pool) pool.addEventListener("input", () => {
  const spaced = /\s/.test(pool.value);
  pool.setCustomValidity(spaced ? "A pool’s name has no spaces." : "");
  const said = document.getElementById("pool-typing");
  said.textContent = spaced ? "A pool’s name has no spaces. Write 10_percent instead of 10 percent." : "";
});
const box = document.getElementById("code-box");
if (box) {
  box.hidden = false;
  box.addEventListener("dragstart", (event) => event.dataTransfer.setData("text/plain", "code"));
  for (const head of document.querySelectorAll("[data-column]")) {
    head.addEventListener("dragover", (event) => { event.preventDefault(); head.classList.add("over"); });
    head.addEventListener("dragleave", () => head.classList.remove("over"));
    head.addEventListener("drop", (event) => {
      event.preventDefault();
      head.classList.remove("over");
      head.querySelector("input[type=radio]").checked = true;
    });
  }
}
for (const form of document.querySelectorAll("form[data-redo]")) {
  for (const field of form.querySelectorAll("[data-redo-field]"))
    field.addEventListener("change", () => {
      sessionStorage.setItem("redone", field.id);
      form.querySelector("button[value=preview]").click();
    });
  document.getElementById(sessionStorage.getItem("redone"))?.focus();  // who uses the keyboard stays where he was
  sessionStorage.removeItem("redone");
}
const follow = document.querySelector("[data-follow]");
if (follow) {
  const events = new EventSource(follow.dataset.follow);
  events.addEventListener("progress", (event) => {
    const found = JSON.parse(event.data);
    follow.querySelector("progress").value = found.progress;
    const stage = follow.querySelector("[data-stage]"), fetched = follow.querySelector("[data-fetched]");
    if (stage && found.stage) stage.textContent = found.stage[0].toUpperCase() + found.stage.slice(1);
    if (fetched && found.fetched !== null) fetched.textContent = found.fetched.toLocaleString("en-GB");
    follow.querySelector("[data-rows]").textContent = found.rows.toLocaleString("en-GB");
    if (found.status === "succeeded" || found.status === "failed") { events.close(); location.reload(); }
  });
}
for (const form of document.querySelectorAll("form[data-live]")) {
  let timer = 0, asked = 0;
  const text = form.querySelector("textarea");
  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(async () => {
      if (!text.value.trim()) return;
      const turn = ++asked;
      const data = new URLSearchParams(new FormData(form));
      data.set("go", "preview");
      data.set("live", "yes");
      const answer = await fetch(form.action, { method: "POST", body: data }).catch(() => null);
      if (!answer || answer.redirected || turn !== asked) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      const made = fresh.getElementById(form.dataset.live), here = document.getElementById(form.dataset.live);
      if (made && here && turn === asked) here.replaceChildren(...made.childNodes);
    }, 500);
  });
}
const upload = document.querySelector("form[data-upload]");
if (upload) upload.addEventListener("submit", (event) => {
  const file = upload.querySelector("input[type=file]");
  if (!file.files.length || file.files[0].size < 1e6) return;
  event.preventDefault();
  const bar = upload.querySelector("progress"), said = upload.querySelector("[data-said]");
  const pressed = event.submitter || upload.querySelector("button[name=go]");
  bar.hidden = false;
  said.textContent = "";
  pressed.disabled = true;
  const request = new XMLHttpRequest();
  request.onerror = () => {
    bar.hidden = true;
    said.textContent = "The upload broke off. Send it again.";
    pressed.disabled = false;
  };
  request.upload.onprogress = (at) => { if (at.lengthComputable) bar.value = at.loaded / at.total; };
  request.onload = () => {
    if (request.responseURL && new URL(request.responseURL).pathname === location.pathname) {
      const next = new DOMParser().parseFromString(request.responseText, "text/html");
      document.body.replaceWith(next.body);
      const again = document.createElement("script");
      again.src = document.querySelector("script[src]").src;
      document.head.append(again);
    } else location.assign(request.responseURL);
  };
  request.open("POST", upload.action);
  const data = new FormData(upload);
  data.set(pressed.name, pressed.value);
  request.send(data);
});
})();
